//! The sockets between the processes: each process gets its ends when it starts, and its neighbours get new ends when
//! it was restarted.

use std::{io, os::fd::OwnedFd};

use rustix::net::{Shutdown, shutdown};

use crate::wire::{control, process::ProcessName};

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The end of the process that writes.
    Upstream,
    /// The end of the process that reads.
    Downstream,
}

/// A one-way connection between two processes.
#[derive(Debug)]
struct Link {
    upstream: ProcessName,
    downstream: ProcessName,
    make: fn() -> io::Result<(OwnedFd, OwnedFd)>,
    /// The end of a process that has not started yet, while the process at the other end has its own.
    spare: Option<(Side, OwnedFd)>,
}

/// Both links: `ingest` to `infer`, and `infer` to `publish`.
#[derive(Debug)]
pub(crate) struct Links([Link; 2]);

/// The ends that a process gets when it starts, and those that its neighbours get.
#[derive(Debug, Default)]
pub(crate) struct LinkEnds {
    /// Of the process itself: upstream first.
    pub(crate) own: Vec<OwnedFd>,
    /// Of running neighbours, with the side of the link that they are on.
    pub(crate) neighbours: Vec<(ProcessName, Side, OwnedFd)>,
}

impl Default for Links {
    /// Links of processes none of which runs.
    fn default() -> Self {
        let link = |upstream, downstream, make| Link { upstream, downstream, make, spare: None };
        Self([
            link(ProcessName::Ingest, ProcessName::Infer, control::unit_pair),
            link(ProcessName::Infer, ProcessName::Publish, control::record_pair),
        ])
    }
}

impl Links {
    /// Makes the ends for a process that starts. `is_running` says which neighbours run.
    ///
    /// # Errors
    /// When the kernel gives no sockets.
    pub(crate) fn connect(
        &mut self,
        name: ProcessName,
        is_running: impl Fn(ProcessName) -> bool,
    ) -> io::Result<LinkEnds> {
        let mut ends = LinkEnds::default();
        for link in &mut self.0 {
            let Some(side) = link.side(name) else { continue };
            if let Some((_, end)) = link.spare.take_if(|(spare, _)| *spare == side) {
                ends.own.push(end);
                continue;
            }
            let (writes, reads) = (link.make)()?;
            // One way: `infer` cannot send anything to `ingest`, which has a network, and `publish` nothing to `infer`.
            shutdown(&reads, Shutdown::Write)?;
            let (own, other) = match side {
                Side::Upstream => (writes, (Side::Downstream, reads)),
                Side::Downstream => (reads, (Side::Upstream, writes)),
            };
            ends.own.push(own);
            let neighbour = link.process(other.0);
            if is_running(neighbour) {
                ends.neighbours.push((neighbour, other.0, other.1));
                link.spare = None;
            } else {
                link.spare = Some(other);
            }
        }
        Ok(ends)
    }

    /// Takes the end that is kept for `name`, for a parent that reads in its place.
    pub(crate) fn take_spare(&mut self, name: ProcessName) -> Option<OwnedFd> {
        let is_of_it = |link: &Link| link.spare.as_ref().is_some_and(|(side, _)| link.process(*side) == name);
        let link = self.0.iter_mut().find(|link| is_of_it(link))?;
        link.spare.take().map(|(_, end)| end)
    }

    /// Closes the ends that are kept for the neighbours of a process that ended: their other ends are closed.
    pub(crate) fn disconnect(&mut self, name: ProcessName) {
        for link in &mut self.0 {
            if let Some(side) = link.side(name) {
                link.spare.take_if(|(spare, _)| *spare != side);
            }
        }
    }
}

impl Link {
    fn side(&self, name: ProcessName) -> Option<Side> {
        match name {
            _ if name == self.upstream => Some(Side::Upstream),
            _ if name == self.downstream => Some(Side::Downstream),
            _ => None,
        }
    }

    fn process(&self, side: Side) -> ProcessName {
        if side == Side::Upstream { self.upstream } else { self.downstream }
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

    /// The ends that each running process has.
    #[derive(Default)]
    struct Running(BTreeMap<ProcessName, Vec<(Side, File)>>);

    impl Running {
        fn start(&mut self, links: &mut Links, name: ProcessName) {
            let ends = links.connect(name, |neighbour| self.0.contains_key(&neighbour)).unwrap();
            let sides = match name {
                ProcessName::Ingest => vec![Side::Upstream],
                ProcessName::Infer => vec![Side::Downstream, Side::Upstream],
                ProcessName::Publish => vec![Side::Downstream],
            };
            assert_eq!(ends.own.len(), sides.len());
            self.0.insert(name, sides.into_iter().zip(ends.own.into_iter().map(File::from)).collect());
            for (neighbour, side, end) in ends.neighbours {
                let ends_of_neighbour = self.0.get_mut(&neighbour).unwrap();
                ends_of_neighbour.retain(|(its_side, _)| *its_side != side);
                ends_of_neighbour.push((side, File::from(end)));
            }
        }

        fn kill(&mut self, links: &mut Links, name: ProcessName) {
            self.0.remove(&name);
            links.disconnect(name);
        }

        fn end(&mut self, name: ProcessName, side: Side) -> &mut File {
            &mut self.0.get_mut(&name).unwrap().iter_mut().find(|(its_side, _)| *its_side == side).unwrap().1
        }

        fn assert_data_flows(&mut self) {
            for (from, to) in [(ProcessName::Ingest, ProcessName::Infer), (ProcessName::Infer, ProcessName::Publish)] {
                self.end(from, Side::Upstream).write_all(&[7]).unwrap();
                let mut byte = [0];
                self.end(to, Side::Downstream).read_exact(&mut byte).unwrap();
                assert_eq!(byte, [7]);
                assert!(self.end(to, Side::Downstream).write(&[7]).is_err(), "{to} could answer {from}");
            }
        }
    }

    #[test]
    fn data_flows_again_after_any_processes_were_restarted_in_any_order() {
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
        for ended in &orders {
            for restarted in [ended.clone(), ended.iter().rev().copied().collect()] {
                let (mut links, mut running) = (Links::default(), Running::default());
                for name in ProcessName::ALL {
                    running.start(&mut links, name);
                }
                running.assert_data_flows();
                for name in ended {
                    running.kill(&mut links, *name);
                }
                for name in &restarted {
                    running.start(&mut links, *name);
                }
                running.assert_data_flows();
            }
        }
    }

    #[test]
    fn a_process_that_is_restarted_before_its_neighbour_starts_leaves_no_closed_end() {
        let (mut links, mut running) = (Links::default(), Running::default());
        for name in [ProcessName::Ingest, ProcessName::Publish] {
            running.start(&mut links, name);
            running.kill(&mut links, name);
            running.start(&mut links, name);
        }
        running.start(&mut links, ProcessName::Infer);
        running.assert_data_flows();
    }
}
