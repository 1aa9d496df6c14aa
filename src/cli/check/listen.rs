//! The rows of the listeners: can their addresses be had?

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::{Row, halves};
use crate::server::Error;

/// Takes the address and gives it back at once. `holder`: who has this configuration's state, and so its ports too.
pub(super) fn row(key: &'static str, address: SocketAddr, holder: Option<&str>) -> Row {
    let fault = match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => return Row::green(key, format!("{address} takes any free port")),
        Ok(_) => return Row::green(key, format!("{address} is free")),
        Err(fault) => fault,
    };
    match holder {
        Some(holder) if fault.kind() == ErrorKind::AddrInUse => Row::yellow(
            key,
            format!("{address} is taken, as it seems by {holder}, which holds the state"),
            "nothing, while that one is to run",
        ),
        _ => {
            let (finding, remedy) = halves(&Error::new(address.to_string(), key, fault).to_string());
            Row::red(key, finding, remedy)
        }
    }
}
