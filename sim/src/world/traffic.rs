//! What crosses the network: connections are dialed, carry messages and go.

use tidelog_core::message::{Acks, Request, Response};

use super::{Event, Failure, World};
use crate::{
    actor::{CallId, MS, Reply},
    host::Happening,
    net::{ConnId, Stage, Way},
    tally::Fault,
    wire,
};

impl World {
    /// Nothing that is under way arrives later than this.
    pub(super) fn cut(&mut self, conn: ConnId, up: u64, down: u64) {
        if let Some(conn) = self.net.get(conn) {
            conn.up_cut = conn.up_cut.min(up);
            conn.down_cut = conn.down_cut.min(down);
        }
    }

    pub(super) fn call(&mut self, client: usize, call: CallId, node: usize, request: Request) -> Result<(), Failure> {
        let now = self.queue.now();
        let conn = match self.net.find(client, node) {
            Some(conn) => conn,
            None => {
                let conn = self.net.dial(client, node);
                let delay = self.net.delay(client, node, &self.config, &self.tally);
                self.queue.after(delay * 2, Event::Dialed(conn));
                conn
            }
        };
        let silent = matches!(&request, Request::Produce(r) if r.acks == Acks::None);
        let request = if self.config.wire == 1 {
            self.tally.fault(Fault::WireCodec);
            wire::request(&request).map_err(Failure::Broken)?
        } else {
            request
        };
        let delay = self.net.delay(client, node, &self.config, &self.tally);
        let at = self.net.send_up(conn, now + delay, call, request);
        let carried = self.net.get(conn).expect("just found");
        carried.calls.push(call);
        if carried.stage == Stage::Open {
            self.queue.at(at, Event::Pump(conn, Way::Up));
            if silent {
                self.queue.after(0, Event::Answer(client, call, Reply::Sent));
            }
        }
        Ok(())
    }

    pub(super) fn dialed(&mut self, id: ConnId) {
        let Some(conn) = self.net.get(id) else { return };
        if conn.stage != Stage::Dialing {
            return;
        }
        let (client, node) = (conn.client, conn.node);
        let refused = !self.net.calm && self.net.link(client, node).chance(self.config.refused_ppm);
        if refused {
            self.tally.fault(Fault::Refused);
        }
        let now = self.queue.now();
        let conn = self.net.get(id).expect("just found");
        if refused || !self.hosts[node].is_ready() || self.hosts[node].paused_until.is_some() {
            for call in std::mem::take(&mut conn.calls) {
                self.queue.after(0, Event::Answer(client, call, Reply::NotSent));
            }
            self.net.forget(id);
            return;
        }
        conn.stage = Stage::Open;
        if conn.waiting() > 0 {
            self.queue.at(now, Event::Pump(id, Way::Up));
        }
    }

    pub(super) fn pump_up(&mut self, id: ConnId) -> Result<(), Failure> {
        let now = self.queue.now();
        loop {
            let Some(conn) = self.net.get(id) else { return Ok(()) };
            if now < conn.stalled_until && conn.stage != Stage::Silent {
                let until = conn.stalled_until;
                self.queue.at(until, Event::Pump(id, Way::Up));
                return Ok(());
            }
            let (client, node) = (conn.client, conn.node);
            let Some((call, request)) = conn.arrived_up(now) else { return Ok(()) };
            let incarnation = self.hosts[node].incarnation;
            if matches!(&request, Request::Produce(r) if r.acks == Acks::None) {
                self.queue.after(0, Event::Answer(client, call, Reply::Sent));
            }
            let happening = Happening::Request(id, call, request);
            self.queue.after(0, Event::Host(node, incarnation, happening));
        }
    }

    pub(super) fn send_down(&mut self, id: ConnId, call: CallId, response: Response) -> Result<(), Failure> {
        let now = self.queue.now();
        let Some((client, node)) = self.net.get(id).map(|conn| (conn.client, conn.node)) else { return Ok(()) };
        let response =
            if self.config.wire == 1 { wire::response(&response).map_err(Failure::Broken)? } else { response };
        let delay = self.net.delay(client, node, &self.config, &self.tally);
        let at = self.net.send_down(id, now + delay, call, response);
        self.queue.at(at, Event::Pump(id, Way::Down));
        Ok(())
    }

    pub(super) fn pump_down(&mut self, id: ConnId) {
        let now = self.queue.now();
        loop {
            let Some(conn) = self.net.get(id) else { return };
            if now < conn.stalled_until && conn.stage == Stage::Open {
                let until = conn.stalled_until;
                self.queue.at(until, Event::Pump(id, Way::Down));
                return;
            }
            let client = conn.client;
            let Some((call, response)) = conn.arrived_down(now) else { return };
            conn.calls.retain(|open| *open != call);
            self.queue.after(0, Event::Answer(client, call, Reply::Answered(response)));
        }
    }

    /// The client lets go of a connection, or learns that it is gone.
    pub(super) fn close_client_end(&mut self, id: ConnId, but: Option<CallId>) {
        let now = self.queue.now();
        let Some(conn) = self.net.get(id) else { return };
        if conn.stage == Stage::Closed {
            return;
        }
        let was_dialing = conn.stage == Stage::Dialing;
        let silent = conn.stage == Stage::Silent;
        let client = conn.client;
        conn.stage = Stage::Closed;
        conn.stalled_until = 0;
        for call in std::mem::take(&mut conn.calls) {
            if Some(call) != but {
                let reply = if was_dialing { Reply::NotSent } else { Reply::Lost };
                self.queue.after(0, Event::Answer(client, call, reply));
            }
        }
        if was_dialing || silent {
            self.net.forget(id);
            return;
        }
        // What is under way to the node may still arrive, and then it learns.
        let delay = self.random.log_between(1, 200) * MS;
        self.cut(id, now + delay, now);
        self.queue.after(delay, Event::NodeGone(id));
    }
}
