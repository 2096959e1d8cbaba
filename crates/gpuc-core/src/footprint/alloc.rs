//! How llama.cpp's graph allocator (ggml-alloc) packs the tensors of one graph into a buffer.
//!
//! The size of a compute buffer is what this procedure ends with, holes included, so it is
//! imitated step by step: best fit among the free blocks, the last block growing the buffer, a
//! tensor freed with its last use, element-wise operations taking over their input's place.

use super::graph::{Graph, Id, Kind, Scheduled};

/// Both the CPU's and a remote device's buffers align tensors to this.
const ALIGN: u64 = 32;

#[derive(Clone, Copy)]
struct Block {
    offset: u64,
    size: u64,
}

/// One buffer in the making.
struct Buffer {
    free: Vec<Block>,
    size: u64,
}

impl Buffer {
    fn new() -> Self {
        Self {
            free: vec![Block {
                offset: 0,
                size: u64::MAX / 2,
            }],
            size: 0,
        }
    }

    fn take(&mut self, bytes: u64) -> u64 {
        let bytes = bytes.next_multiple_of(ALIGN);
        let last = self.free.len().saturating_sub(1);
        let mut best: Option<(usize, u64)> = None;
        for (i, b) in self.free.iter().take(last).enumerate() {
            if b.size >= bytes && best.is_none_or(|(_, s)| b.size <= s) {
                best = Some((i, b.size));
            }
        }
        let at = best.map_or(last, |(i, _)| i);
        let Some(b) = self.free.get_mut(at) else {
            return 0;
        };
        let offset = b.offset;
        b.offset += bytes;
        b.size = b.size.saturating_sub(bytes);
        if b.size == 0 {
            self.free.remove(at);
        }
        self.size = self.size.max(offset + bytes);
        offset
    }

    /// Empty tensors leave empty blocks behind that later merges do not see; that is part of what
    /// is imitated, so the search runs from the front and stops at the first neighbour.
    fn give(&mut self, offset: u64, bytes: u64) {
        let size = bytes.next_multiple_of(ALIGN);
        let end = offset + size;
        let near = |b: &Block| b.offset + b.size == offset || end == b.offset;
        let Some(i) = self.free.iter().position(near) else {
            let at = self.free.partition_point(|b| b.offset < offset);
            self.free.insert(at, Block { offset, size });
            return;
        };
        let Some(b) = self.free.get_mut(i) else {
            return;
        };
        b.size += size;
        let before = b.offset + b.size == end;
        if !before {
            b.offset = offset;
        }
        let (start, end) = (b.offset, b.offset + b.size);
        if before {
            if let Some(next) = self.free.get(i + 1).copied()
                && next.offset == end
            {
                self.free.remove(i + 1);
                if let Some(b) = self.free.get_mut(i) {
                    b.size += next.size;
                }
            }
        } else if let Some(previous) = i.checked_sub(1).and_then(|p| self.free.get_mut(p))
            && previous.offset + previous.size == start
        {
            previous.size += end - start;
            self.free.remove(i);
        }
    }
}

#[derive(Clone, Copy, Default)]
struct State {
    children: u32,
    views: u32,
    buffer: u8,
    offset: u64,
    allocated: bool,
}

/// The allocator over a scheduled graph.
struct Allocator<'a> {
    graph: &'a Graph,
    state: Vec<State>,
    buffers: [Buffer; 2],
}

/// The sizes of the device's and the host's compute buffer.
pub(super) fn buffer_sizes(graph: &Graph, order: &[Scheduled]) -> [u64; 2] {
    let mut a = Allocator {
        graph,
        state: vec![State::default(); graph.len()],
        buffers: [Buffer::new(), Buffer::new()],
    };
    for leaf in graph.leafs() {
        a.place(leaf, 1);
    }
    for s in order {
        let node = graph.node(s.id);
        if let Some(root) = node.view_of
            && node.kind != Kind::Dependency
        {
            a.change(root, |s| s.views += 1);
        }
        for src in &node.srcs {
            a.change(*src, |s| s.children += 1);
        }
    }
    for s in order {
        for src in &graph.node(s.id).srcs {
            a.place(*src, s.backend);
        }
        a.place(s.id, s.backend);
        for src in &graph.node(s.id).srcs {
            a.used(*src);
        }
    }
    let [device, host] = a.buffers;
    [device.size, host.size]
}

impl Allocator<'_> {
    /// Ids are made by the graph, whose length the table has.
    fn change(&mut self, id: Id, change: impl FnOnce(&mut State)) {
        if let Some(s) = self.state.get_mut(id.index()) {
            change(s);
        }
    }

    fn get(&self, id: Id) -> State {
        self.state.get(id.index()).copied().unwrap_or_default()
    }

    fn buffer(&mut self, which: u8) -> &mut Buffer {
        let [device, host] = &mut self.buffers;
        if which == 0 { device } else { host }
    }

    fn place(&mut self, id: Id, backend: u8) {
        let node = self.graph.node(id);
        if self.get(id).allocated || node.external || node.view_of.is_some() {
            return;
        }
        if node.in_place
            && let Some((buffer, offset)) = self.take_over(id)
        {
            self.hold(id, buffer, offset);
            return;
        }
        let offset = self.buffer(backend).take(node.bytes);
        self.hold(id, backend, offset);
    }

    fn hold(&mut self, id: Id, buffer: u8, offset: u64) {
        self.change(id, |s| {
            s.allocated = true;
            s.buffer = buffer;
            s.offset = offset;
        });
    }

    /// The place of an input that this element-wise operation is the last to read.
    fn take_over(&mut self, id: Id) -> Option<(u8, u64)> {
        let graph = self.graph;
        let node = graph.node(id);
        for src in &node.srcs {
            let parent = graph.node(*src);
            let p = self.get(*src);
            // A view is never taken over: it is not the allocator's own.
            if p.children == 1
                && p.views == 0
                && p.allocated
                && !parent.output
                && parent.bytes == node.bytes
                && parent.contiguous
            {
                self.change(*src, |s| s.allocated = false);
                return Some((p.buffer, p.offset));
            }
        }
        None
    }

    fn used(&mut self, id: Id) {
        self.change(id, |s| s.children = s.children.saturating_sub(1));
        let s = self.get(id);
        if s.children != 0 || s.views != 0 {
            return;
        }
        let root = self.graph.node(id).view_of;
        let owner = match root {
            Some(root) => {
                self.change(root, |s| s.views = s.views.saturating_sub(1));
                let r = self.get(root);
                if r.views != 0 || r.children != 0 {
                    return;
                }
                root
            }
            None => id,
        };
        let o = self.get(owner);
        let node = self.graph.node(owner);
        if o.allocated && !node.output {
            self.buffer(o.buffer).give(o.offset, node.bytes);
            self.change(owner, |s| s.allocated = false);
        }
    }
}
