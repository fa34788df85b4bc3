//! Counters and rates of a virtual server or a real server.

use super::attribute::{Attribute, DecodeError};

/// What passed since the object was made or its counters were zeroed, and the kernel's estimate of
/// the present rates. A kernel that sends 64-bit counters (4.2 and later) is read by those; of
/// the 32-bit ones the counters wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets towards the real servers.
    pub packets_in: u64,
    /// Packets back to the clients; 0 unless forwarding is masquerading.
    pub packets_out: u64,
    /// Bytes towards the real servers.
    pub bytes_in: u64,
    /// Bytes back to the clients; 0 unless forwarding is masquerading.
    pub bytes_out: u64,
    /// Connections a second.
    pub connection_rate: u64,
    /// Packets a second towards the real servers.
    pub packet_rate_in: u64,
    /// Packets a second back to the clients.
    pub packet_rate_out: u64,
    /// Bytes a second towards the real servers.
    pub byte_rate_in: u64,
    /// Bytes a second back to the clients.
    pub byte_rate_out: u64,
}

impl Statistics {
    pub(super) fn decode(attribute: &Attribute<'_>) -> Result<Self, DecodeError> {
        let mut statistics = Self::default();
        for attribute in attribute.nested() {
            let attribute = attribute?;
            if let Some((name, field)) = statistics.field(attribute.number) {
                *field = attribute.counter(name)?;
            }
        }
        Ok(statistics)
    }

    /// `IPVS_STATS_ATTR_*`; padding and what later kernels add is no field.
    fn field(&mut self, number: u16) -> Option<(&'static str, &mut u64)> {
        Some(match number {
            1 => ("connections", &mut self.connections),
            2 => ("packets in", &mut self.packets_in),
            3 => ("packets out", &mut self.packets_out),
            4 => ("bytes in", &mut self.bytes_in),
            5 => ("bytes out", &mut self.bytes_out),
            6 => ("connection rate", &mut self.connection_rate),
            7 => ("packet rate in", &mut self.packet_rate_in),
            8 => ("packet rate out", &mut self.packet_rate_out),
            9 => ("byte rate in", &mut self.byte_rate_in),
            10 => ("byte rate out", &mut self.byte_rate_out),
            _ => return None,
        })
    }
}

/// Both forms of the same counters, of which the wide one wins wherever it stands.
#[derive(Debug, Default)]
pub(super) struct StatisticsPair {
    pub(super) narrow: Option<Statistics>,
    pub(super) wide: Option<Statistics>,
}

impl StatisticsPair {
    pub(super) fn best(self) -> Statistics {
        self.wide.or(self.narrow).unwrap_or_default()
    }
}
