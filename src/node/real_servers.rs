//! The real servers of a virtual server: a small map that is made, walked and compared often.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::virtual_server::as_list;
use super::{RealServer, RealServerKey};

/// Real servers by key, in its order. It is a sorted list and not a tree: nodes of thousands of virtual
/// servers are compared at each change, and most have few real servers, which then stand side by side.
/// A clone is the same list until one of both is changed; the same list is equal without a look.
#[derive(Debug, Clone, Default)]
pub struct RealServers(Arc<Vec<(RealServerKey, RealServer)>>);

impl RealServers {
    /// Whether both are one list, and not only equal.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of a key in the order, or the place that it would get.
    ///
    /// # Errors
    /// The latter.
    pub fn position(&self, key: &RealServerKey) -> Result<usize, usize> {
        // Keys mostly come in their order, and then this one belongs behind the last.
        match self.0.last() {
            Some((last, _)) if last < key => Err(self.0.len()),
            _ => self.0.binary_search_by(|(held, _)| held.cmp(key)),
        }
    }

    pub fn get(&self, key: &RealServerKey) -> Option<&RealServer> {
        let place = self.position(key).ok()?;
        self.0.get(place).map(|(_, real)| real)
    }

    pub fn get_mut(&mut self, key: &RealServerKey) -> Option<&mut RealServer> {
        let place = self.position(key).ok()?;
        Arc::make_mut(&mut self.0).get_mut(place).map(|(_, real)| real)
    }

    /// Puts one in, or in the place of the one that is there, which it returns.
    pub fn insert(&mut self, key: RealServerKey, real: RealServer) -> Option<RealServer> {
        let place = self.position(&key);
        let list = Arc::make_mut(&mut self.0);
        match place {
            Ok(place) => list.get_mut(place).map(|(_, held)| std::mem::replace(held, real)),
            Err(place) => {
                list.insert(place, (key, real));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &RealServerKey) -> Option<RealServer> {
        let place = self.position(key).ok()?;
        Some(Arc::make_mut(&mut self.0).remove(place).1)
    }

    pub fn pop_first(&mut self) -> Option<(RealServerKey, RealServer)> {
        (!self.0.is_empty()).then(|| Arc::make_mut(&mut self.0).remove(0))
    }

    pub fn clear(&mut self) {
        self.0 = Arc::default();
    }

    pub fn iter(&self) -> Iter<'_> {
        self.into_iter()
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &RealServerKey> + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &RealServer> + Clone {
        self.0.iter().map(|(_, real)| real)
    }

    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut RealServer> {
        Arc::make_mut(&mut self.0).iter_mut().map(|(_, real)| real)
    }
}

impl PartialEq for RealServers {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        let equal = || one.iter().zip(other.iter()).all(|(one, other)| same(one, other));
        Arc::ptr_eq(one, other) || (one.len() == other.len() && equal())
    }
}

impl Eq for RealServers {}

/// As `==`, but without a branch for each field where both are IPv4: this is most of the work of
/// finding what differs between two nodes.
fn same(one: &(RealServerKey, RealServer), other: &(RealServerKey, RealServer)) -> bool {
    let (IpAddr::V4(address), IpAddr::V4(other_address)) = (&one.0.address, &other.0.address)
    else {
        return one == other;
    };
    let address = address.to_bits() ^ other_address.to_bits();
    let port = u32::from(one.0.port ^ other.0.port);
    let weight = one.1.weight ^ other.1.weight;
    let forwarding = one.1.forwarding as u32 ^ other.1.forwarding as u32;
    let bounds = (one.1.most ^ other.1.most) | (one.1.least ^ other.1.least);
    address | port | weight | forwarding | bounds == 0
}

/// Goes through real servers in the order of their keys.
pub type Iter<'a> = std::iter::Map<
    std::slice::Iter<'a, (RealServerKey, RealServer)>,
    fn(&'a (RealServerKey, RealServer)) -> (&'a RealServerKey, &'a RealServer),
>;

impl<'a> IntoIterator for &'a RealServers {
    type Item = (&'a RealServerKey, &'a RealServer);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.0.iter().map(|(key, real)| (key, real))
    }
}

/// Of two with one key the last counts.
impl FromIterator<(RealServerKey, RealServer)> for RealServers {
    fn from_iter<I: IntoIterator<Item = (RealServerKey, RealServer)>>(reals: I) -> Self {
        let reals = reals.into_iter();
        let mut all = Self(Arc::new(Vec::with_capacity(reals.size_hint().0)));
        for (key, real) in reals {
            all.insert(key, real);
        }
        all
    }
}

impl<const N: usize> From<[(RealServerKey, RealServer); N]> for RealServers {
    fn from(reals: [(RealServerKey, RealServer); N]) -> Self {
        reals.into_iter().collect()
    }
}

impl Serialize for RealServers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_list::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for RealServers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_list::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::node::Forwarding;

    fn key(number: u8) -> RealServerKey {
        RealServerKey { address: [10, 0, 3, number].into(), port: 0 }
    }

    fn real(weight: u32) -> RealServer {
        RealServer::new(Forwarding::Masquerade, weight)
    }

    fn fixed_seed() -> ProptestConfig {
        let rng_seed = proptest::test_runner::RngSeed::Fixed(0x5eed_0c02);
        ProptestConfig { cases: 256, failure_persistence: None, rng_seed, ..Default::default() }
    }

    #[test]
    fn every_field_of_a_real_server_counts() {
        let one = |key, real| RealServers::from([(key, real)]);
        let (held, tunnel) = (key(1), RealServer::new(Forwarding::Tunnel, 1));
        let (most, least) = (RealServer { most: 2, ..real(1) }, RealServer { least: 2, ..real(1) });
        let six = RealServerKey { address: [0; 16].into(), port: 0 };
        let ported = RealServerKey { port: 80, ..held };
        let kinds = [
            one(held, real(1)),
            one(held, real(0)),
            one(held, tunnel),
            one(held, most),
            one(held, least),
            one(ported, real(1)),
            one(key(2), real(1)),
            one(six, real(1)),
            one(six, real(0)),
            RealServers::default(),
            RealServers::from([(held, real(1)), (six, real(1))]),
        ];
        for (number, one) in kinds.iter().enumerate() {
            for (place, other) in kinds.iter().enumerate() {
                assert_eq!(one == other, number == place, "{one:?} beside {other:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(fixed_seed())]

        #[test]
        fn whatever_is_done_to_it_it_is_a_map(
            steps in proptest::collection::vec((0..4_u8, 0..12_u8, 0..3_u32), 0..40),
        ) {
            let (mut reals, mut map) = (RealServers::default(), BTreeMap::new());
            for (step, number, weight) in steps {
                match step {
                    0 | 1 => prop_assert_eq!(
                        reals.insert(key(number), real(weight)),
                        map.insert(key(number), real(weight))
                    ),
                    2 => prop_assert_eq!(reals.remove(&key(number)), map.remove(&key(number))),
                    _ => prop_assert_eq!(reals.get(&key(number)), map.get(&key(number))),
                }
                prop_assert!(reals.iter().eq(&map));
                let made: RealServers = map.iter().map(|(key, real)| (*key, *real)).collect();
                prop_assert_eq!(&made, &reals);
            }
        }
    }
}
