//! The sockets between the rooms, and handing a room its ends: at its start, and anew when a neighbour was restarted.

use std::{io, os::fd::OwnedFd};

use rustix::net::{Shutdown, shutdown};

use super::process::ProcessName;
use crate::wire::control;

/// Which side of a joint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Writes.
    Before,
    /// Reads.
    Behind,
}

/// A place where two rooms meet.
#[derive(Debug)]
struct Link {
    before: ProcessName,
    behind: ProcessName,
    make: fn() -> io::Result<(OwnedFd, OwnedFd)>,
    /// An end whose room is not there yet; the other end is in use.
    kept: Option<(Side, OwnedFd)>,
}

/// Both places.
#[derive(Debug)]
pub struct Links([Link; 2]);

/// What a starting room gets, and who else must be told.
#[derive(Debug, Default)]
pub struct Ends {
    /// The room's own: upstream first.
    pub own: Vec<OwnedFd>,
    /// New ends for neighbours at work, and which side of the joint they are on.
    pub neighbours: Vec<(ProcessName, Side, OwnedFd)>,
}

impl Default for Links {
    /// Two places where nobody is yet.
    fn default() -> Self {
        Self([
            Link { before: ProcessName::Ingest, behind: ProcessName::Infer, make: control::unit_pair, kept: None },
            Link { before: ProcessName::Infer, behind: ProcessName::Publish, make: control::record_pair, kept: None },
        ])
    }
}

impl Links {
    /// The ends for a room that starts. `present` tells which neighbours are at work.
    ///
    /// # Errors
    /// When the kernel gives no sockets.
    pub fn enter(&mut self, room: ProcessName, present: impl Fn(ProcessName) -> bool) -> io::Result<Ends> {
        let mut ends = Ends::default();
        for joint in &mut self.0 {
            let Some(side) = joint.side(room) else { continue };
            if let Some((_, end)) = joint.kept.take_if(|(kept, _)| *kept == side) {
                ends.own.push(end);
                continue;
            }
            let (writes, reads) = (joint.make)()?;
            // One way: what sees pictures cannot answer whoever has a network, and `publish` cannot ask for any.
            shutdown(&reads, Shutdown::Write)?;
            let (own, other) = match side {
                Side::Before => (writes, (Side::Behind, reads)),
                Side::Behind => (reads, (Side::Before, writes)),
            };
            ends.own.push(own);
            let neighbour = joint.room(other.0);
            if present(neighbour) {
                ends.neighbours.push((neighbour, other.0, other.1));
                joint.kept = None;
            } else {
                joint.kept = Some(other);
            }
        }
        Ok(ends)
    }

    /// The end that waits for `room`, for a parent that takes this room's place.
    pub fn take_kept(&mut self, room: ProcessName) -> Option<OwnedFd> {
        let joint = self.0.iter_mut().find(|it| it.kept.as_ref().is_some_and(|(side, _)| it.room(*side) == room))?;
        joint.kept.take().map(|(_, end)| end)
    }

    /// A room is gone: ends that were kept for its neighbours lead nowhere now.
    pub fn leave(&mut self, room: ProcessName) {
        for joint in &mut self.0 {
            if let Some(side) = joint.side(room) {
                joint.kept.take_if(|(kept, _)| *kept != side);
            }
        }
    }
}

impl Link {
    fn side(&self, room: ProcessName) -> Option<Side> {
        match room {
            _ if room == self.before => Some(Side::Before),
            _ if room == self.behind => Some(Side::Behind),
            _ => None,
        }
    }

    fn room(&self, side: Side) -> ProcessName {
        if side == Side::Before { self.before } else { self.behind }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs::File,
        io::{Read as _, Write as _},
    };

    use super::*;

    /// Processes as bags of ends: `[upstream, downstream]`, whichever there are.
    #[derive(Default)]
    struct House(BTreeMap<ProcessName, Vec<(Side, File)>>);

    impl House {
        fn start(&mut self, joints: &mut Links, room: ProcessName) {
            let ends = joints.enter(room, |it| self.0.contains_key(&it)).unwrap();
            let sides = match room {
                ProcessName::Ingest => vec![Side::Before],
                ProcessName::Infer => vec![Side::Behind, Side::Before],
                ProcessName::Publish => vec![Side::Behind],
            };
            assert_eq!(ends.own.len(), sides.len());
            self.0.insert(room, sides.into_iter().zip(ends.own.into_iter().map(File::from)).collect());
            for (neighbour, side, end) in ends.neighbours {
                let bag = self.0.get_mut(&neighbour).unwrap();
                bag.retain(|(it, _)| *it != side);
                bag.push((side, File::from(end)));
            }
        }

        fn die(&mut self, joints: &mut Links, room: ProcessName) {
            self.0.remove(&room);
            joints.leave(room);
        }

        fn end(&mut self, room: ProcessName, side: Side) -> &mut File {
            &mut self.0.get_mut(&room).unwrap().iter_mut().find(|(it, _)| *it == side).unwrap().1
        }

        fn flows(&mut self) {
            for (from, to) in [(ProcessName::Ingest, ProcessName::Infer), (ProcessName::Infer, ProcessName::Publish)] {
                self.end(from, Side::Before).write_all(&[7]).unwrap();
                let mut byte = [0];
                self.end(to, Side::Behind).read_exact(&mut byte).unwrap();
                assert_eq!(byte, [7]);
                assert!(self.end(to, Side::Behind).write(&[7]).is_err(), "{to} could answer {from}");
            }
        }
    }

    #[test]
    fn data_flows_again_whoever_died_and_in_whatever_order_they_come_back() {
        use ProcessName::{Infer, Ingest, Publish};
        let orders = [
            vec![],
            vec![Ingest],
            vec![Infer],
            vec![Publish],
            vec![Infer, Publish],
            vec![Publish, Infer],
            vec![Ingest, Publish],
            vec![Ingest, Infer],
            vec![Infer, Ingest, Publish],
            vec![Publish, Ingest, Infer],
        ];
        for dead in &orders {
            for back in [dead.clone(), dead.iter().rev().copied().collect()] {
                let (mut joints, mut house) = (Links::default(), House::default());
                for room in ProcessName::ALL {
                    house.start(&mut joints, room);
                }
                house.flows();
                for room in dead {
                    house.die(&mut joints, *room);
                }
                for room in &back {
                    house.start(&mut joints, *room);
                }
                house.flows();
            }
        }
    }

    #[test]
    fn a_room_that_dies_twice_before_its_neighbour_comes_leaves_no_dead_end() {
        let (mut joints, mut house) = (Links::default(), House::default());
        for room in [ProcessName::Ingest, ProcessName::Publish] {
            house.start(&mut joints, room);
            house.die(&mut joints, room);
            house.start(&mut joints, room);
        }
        house.start(&mut joints, ProcessName::Infer);
        house.flows();
    }
}
