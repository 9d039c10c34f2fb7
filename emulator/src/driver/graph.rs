//! Graphs: recorded work, replayed with the parameters it was captured with.

use super::code::{Code, Result};
use super::state::{Driver, Find, Handle, driver, in_context};
use super::stream::Place;
use super::work::Work;

/// `CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH`
const DEVICE_LAUNCH: u64 = 4;
/// `CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH`
const AUTO_FREE: u64 = 1;
const ALL_FLAGS: u64 = 15;

/// One piece of work and the nodes it comes after, which all have smaller numbers.
#[derive(Debug, Clone)]
pub struct Node {
    pub work: Work,
    pub after: Vec<usize>,
}

/// A graph, or one made ready to launch.
#[derive(Debug, Clone)]
pub struct Graph {
    pub context: Handle,
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Nodes that come after no other one.
    fn roots(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].after.is_empty()).collect()
    }

    /// Handles of nodes: numbers within the graph, as handles leave no room for more and nothing works on single nodes.
    fn list(
        numbers: &[usize],
        graph: Handle,
        nodes: &Out<Handle>,
        count: &Out<usize>,
        room: Option<usize>,
    ) -> Result<()> {
        if let Some(room) = room {
            for (place, number) in numbers.iter().take(room).enumerate() {
                nodes.at(place, (graph << 20) + number + 1)?;
            }
            for place in numbers.len()..room {
                nodes.at(place, 0)?;
            }
            return count.put(room.min(numbers.len()));
        }
        count.put(numbers.len())
    }
}

impl Driver {
    fn instantiate(&mut self, graph: Handle, flags: u64) -> Result<Handle> {
        if flags & !ALL_FLAGS != 0 || flags & (DEVICE_LAUNCH | AUTO_FREE) == DEVICE_LAUNCH | AUTO_FREE {
            return Err(Code::INVALID_VALUE);
        }
        if flags & DEVICE_LAUNCH != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        let copy = self.graphs.find(graph).map_err(|_| Code::INVALID_VALUE)?.clone();
        if copy.nodes.len() > self.machine.profile.graph_nodes {
            return Err(Code::OUT_OF_MEMORY);
        }
        let handle = self.handle();
        self.executables.insert(handle, copy);
        Ok(handle)
    }

    fn launch_graph(&mut self, graph: Handle, stream: Handle) -> Result<()> {
        let place = self.place(stream)?;
        let graph = self.executables.find(graph).map_err(|_| Code::INVALID_VALUE)?;
        if graph.context != place.context() {
            return Err(Code::INVALID_CONTEXT);
        }
        // Nodes hold the kernels by reference; copying the list is cheap beside running them.
        let graph = graph.clone();
        match self.capture_of(place)? {
            Some(capture) => self.inline(capture, place, graph),
            None => {
                self.refuse_implicit(place, "cuGraphLaunch")?;
                self.statistics.graph_launches += 1;
                for node in &graph.nodes {
                    // A fault in one node spoils the context: the rest does not run, and later calls tell.
                    if self.run(place.context(), &node.work).is_err() || self.whole(place.context()).is_err() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// A graph launched in a capturing stream becomes part of the capture.
    fn inline(&mut self, capture: Handle, place: Place, graph: Graph) -> Result<()> {
        // One after the other: an order that the graph's own dependencies allow.
        graph.nodes.into_iter().try_for_each(|node| self.append(capture, place, node.work))
    }
}

fn nodes(graph: Handle, nodes: &Out<Handle>, count: &Out<usize>, pick: fn(&Graph) -> Vec<usize>) -> Result<()> {
    driver(|d| {
        let found = d.graphs.find(graph).map_err(|_| Code::INVALID_VALUE)?;
        let room = if nodes.is_null() { None } else { Some(count.current()?) };
        Graph::list(&pick(found), graph, nodes, count, room)
    })
}

exports! {
    fn cuGraphCreate(out: Out<Handle>, flags: u32) {
        in_context(|d, context| {
            if flags != 0 {
                return Err(Code::INVALID_VALUE);
            }
            let handle = d.handle();
            d.graphs.insert(handle, Graph { context, nodes: Vec::new() });
            out.put(handle)
        })
    }
    fn cuGraphClone(out: Out<Handle>, graph: Handle) {
        driver(|d| {
            let copy = d.graphs.find(graph).map_err(|_| Code::INVALID_VALUE)?.clone();
            let handle = d.handle();
            d.graphs.insert(handle, copy);
            out.put(handle)
        })
    }
    fn cuGraphInstantiateWithFlags(out: Out<Handle>, graph: Handle, flags: u64) {
        in_context(|d, _| out.put(d.instantiate(graph, flags)?))
    }
    fn cuGraphInstantiate_v2(out: Out<Handle>, graph: Handle, bad: Out<Handle>, log: Out<u8>, log_bytes: usize) {
        in_context(|d, _| {
            bad.offer(0);
            if log_bytes > 0 {
                log.offer(0);
            }
            out.put(d.instantiate(graph, 0)?)
        })
    }
    fn cuGraphUpload(graph: Handle, stream: Handle) {
        in_context(|d, _| {
            let place = d.place(stream)?;
            if d.capture_of(place)?.is_some() {
                return Err(Code::STREAM_CAPTURE_UNSUPPORTED);
            }
            d.executables.find(graph).map(drop).map_err(|_| Code::INVALID_VALUE)
        })
    }
    fn cuGraphLaunch(graph: Handle, stream: Handle) {
        in_context(|d, _| d.launch_graph(graph, stream))
    }
    fn cuGraphExecDestroy(graph: Handle) {
        driver(|d| d.executables.take(graph).map(drop).map_err(|_| Code::INVALID_VALUE))
    }
    fn cuGraphDestroy(graph: Handle) {
        driver(|d| d.graphs.take(graph).map(drop).map_err(|_| Code::INVALID_VALUE))
    }
    fn cuGraphGetNodes(graph: Handle, list: Out<Handle>, count: Out<usize>) {
        nodes(graph, &list, &count, |g| (0..g.nodes.len()).collect())
    }
    fn cuGraphGetRootNodes(graph: Handle, list: Out<Handle>, count: Out<usize>) {
        nodes(graph, &list, &count, Graph::roots)
    }
}
