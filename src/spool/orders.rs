//! What the operator asks for of held mail: one empty file for each order, `spool/orders/<queue id>.<order>`. Given by
//! `fastsmtp queue`, which holds no lock; looked for by the courier about once a second while anything is held, and by
//! the start.
//!
//! An order is a file in a directory of its own, so that looking costs the same however much is held. A removal is
//! ordered before the held file is removed: should the server write that anew in the same moment, it finds the order
//! behind and removes it again; and should the log still have the message, the next start settles it instead.

use std::io;
use std::path::{Path, PathBuf};

use crate::QueueId;
use crate::disk::{Disk, Open};

/// Where orders lie.
pub(super) const ORDERS: &str = "spool/orders";

/// What to do with a held message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Try it again now.
    Release,
    /// Never deliver it.
    Remove,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Order::Release => "release",
            Order::Remove => "remove",
        }
    }
}

/// Gives an order: a removal durably, for a release is what a start does anyway. To give it again changes nothing.
pub fn give(disk: &dyn Disk, id: QueueId, order: Order) -> io::Result<()> {
    let path = path(id, order);
    match disk.open(&path, Open::Create).map(drop) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        given => given?,
    }
    match order {
        Order::Release => Ok(()),
        Order::Remove => disk.sync_dir(Path::new(ORDERS)),
    }
}

/// Whether an order waits to be fulfilled.
pub fn is_given(disk: &dyn Disk, id: QueueId, order: Order) -> bool {
    disk.open(&path(id, order), Open::Read).is_ok()
}

/// The orders that wait.
pub fn given(disk: &dyn Disk) -> io::Result<Vec<(QueueId, Order)>> {
    let orders = disk.list(Path::new(ORDERS))?;
    Ok(orders.iter().filter_map(|name| order(name)).collect())
}

/// Strikes an order out, if it is there.
pub fn fulfilled(disk: &dyn Disk, id: QueueId, order: Order) -> io::Result<()> {
    match disk.remove(&path(id, order)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn order(name: &str) -> Option<(QueueId, Order)> {
    let (id, word) = name.split_once('.')?;
    let order = [Order::Release, Order::Remove].into_iter().find(|order| order.word() == word)?;
    Some((id.parse().ok()?, order))
}

fn path(id: QueueId, order: Order) -> PathBuf {
    Path::new(ORDERS).join(format!("{id}.{}", order.word()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn an_order_stands_until_it_is_fulfilled() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path(), &["spool", ORDERS]).unwrap();
        let id = QueueId { run: 1, counter: 2 };
        give(&disk, id, Order::Remove).unwrap();
        give(&disk, id, Order::Remove).unwrap();
        std::fs::write(root.path().join(ORDERS).join("nonsense.remove"), "").unwrap();
        assert_eq!(given(&disk).unwrap(), [(id, Order::Remove)]);
        assert!(is_given(&disk, id, Order::Remove) && !is_given(&disk, id, Order::Release));
        fulfilled(&disk, id, Order::Remove).unwrap();
        fulfilled(&disk, id, Order::Remove).unwrap();
        assert_eq!(given(&disk).unwrap(), []);
    }
}
