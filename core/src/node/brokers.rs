//! Brokers as this node knows them.

use super::Node;
use crate::{cluster::Registration, effect::Effect};

impl Node {
    /// A registration is committed: the driver learns where that node is reached.
    pub(super) fn on_broker_registered(&mut self, registration: &Registration) {
        let Registration { node, endpoints, .. } = registration;
        if *node != self.config.node && !endpoints.native.is_empty() {
            self.effects.push(Effect::PeerMoved { node: *node, endpoints: endpoints.clone() });
        }
    }
}
