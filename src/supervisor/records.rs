//! A dry run's records, on their way from `infer` to the dry run's session.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    thread,
};

use crossbeam_channel::{Receiver, bounded};
use tracing::warn;

use crate::wire::record::{RECORD_BYTES, Record};

/// Records that wait for the callback of a dry run.
const RECORDS: usize = 64;

/// Reads a dry run's records on a thread of its own, until `infer` is gone.
pub(super) fn read(from: OwnedFd) -> io::Result<Receiver<Record>> {
    let (sender, records) = bounded(RECORDS);
    let read = move || {
        // One more than a record, so that a longer one is seen to be longer.
        let mut bytes = [0; RECORD_BYTES + 1];
        loop {
            match rustix::io::retry_on_intr(|| rustix::io::read(from.as_fd(), &mut bytes)) {
                Ok(0) => return,
                Ok(n) => match Record::from_bytes(bytes.get(..n).unwrap_or_default()) {
                    Ok(record) if sender.send(record).is_ok() => {}
                    Ok(_) => return,
                    Err(err) => warn!(%err, "infer sent something else"),
                },
                Err(err) => {
                    warn!(%err, "infer's records cannot be read");
                    return;
                }
            }
        }
    };
    thread::Builder::new().name("records".into()).spawn(read)?;
    Ok(records)
}
