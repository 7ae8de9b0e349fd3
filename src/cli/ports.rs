//! Who holds a port: a message that says "in use" should say by whom.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use super::exit::{Exit, Failure};
use crate::diagnostic::Code;

/// The process that listens on the port of `address`: `nginx (pid 4711)`.
///
/// `None` where the system does not tell: another user's process, or no `/proc`.
pub(crate) fn holder(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listener_inode(&table, address.port()))?;
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        });
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        holds.then(|| format!("{} (pid {pid})", name.trim_end()))
    })
}

/// The inode of the socket that listens on `port`, in a table of `/proc/net/tcp`.
fn listener_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let (_, hex) = local.rsplit_once(':')?;
        let listens = state == LISTEN && u16::from_str_radix(hex, 16) == Ok(port);
        listens.then(|| inode.to_owned())
    })
}

/// Why `address` could not be bound, with the process that holds it.
pub(crate) fn busy(what: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    let by = holder(address).map(|name| format!(" by {name}")).unwrap_or_default();
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Failure::coded(Exit::Failed, Code::FB2001, format!("{what}: {address} is in use{by}"))
        }
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Permission, format!("{what}: {address}: {error}"))
        }
        _ => Failure::new(Exit::Failed, format!("{what}: {address}: {error}")),
    }
}

/// Can `address` be listened on now?
pub(crate) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_listener_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let name = holder(address).expect("/proc tells");
        assert!(name.contains(&format!("(pid {})", std::process::id())), "{name}");
        assert!(!is_free(address));
    }

    #[test]
    fn the_table_of_proc_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:22A4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 27412 1 0000000000000000 100 0 0 10 0\n";
        assert_eq!(listener_inode(table, 8868), Some("27412".to_owned()));
        assert_eq!(listener_inode(table, 8869), None);
    }
}
