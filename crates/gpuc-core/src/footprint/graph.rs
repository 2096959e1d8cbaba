//! A computation graph in outline: which tensors, how large, who reads whom, where they lie.
//!
//! Weights and caches are not part of it, they have buffers of their own; they only fix where an
//! operation runs. The assignment of the rest to device or host, and the copies between them, are
//! those of llama.cpp's scheduler (ggml-backend).

/// The device's index among the two buffers.
pub(super) const DEVICE: u8 = 0;
/// The host's index.
pub(super) const HOST: u8 = 1;

/// The largest tensor that is believed: offsets then stay within 64 bits.
const LARGEST: u64 = 1 << 44;

/// A tensor of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

impl Id {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a tensor is to the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A result of computing.
    Op,
    /// Another look at a tensor's bytes.
    View,
    /// Keeps its source alive until a copy of it is made.
    Dependency,
    /// Filled before the graph runs.
    Input,
}

/// One tensor.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    /// Bytes from a view's first element to its last, where its rows lie apart: a copy of the view
    /// is as large.
    pub(super) span: u64,
    pub(super) srcs: Vec<Id>,
    /// The tensor whose bytes this one shows.
    pub(super) view_of: Option<Id>,
    /// An element-wise operation, which may overwrite its input.
    pub(super) in_place: bool,
    pub(super) contiguous: bool,
    /// In a buffer of its own: a cache.
    pub(super) external: bool,
    /// Kept until the graph ends.
    pub(super) output: bool,
    /// Where it must run, through its weights or its cache.
    fixed: Option<u8>,
    /// Whether it is part of the order already.
    visited: bool,
}

/// A tensor in the order of execution, with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scheduled {
    pub(super) id: Id,
    pub(super) backend: u8,
}

/// A graph; its order is that in which its parts were expanded, as ggml builds it.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    order: Vec<Id>,
    leafs: Vec<Id>,
}

static NOWHERE: Node = Node {
    kind: Kind::Input,
    bytes: 0,
    span: 0,
    srcs: Vec::new(),
    view_of: None,
    in_place: false,
    contiguous: true,
    external: true,
    output: false,
    fixed: None,
    visited: false,
};

impl Graph {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id.index()).unwrap_or(&NOWHERE)
    }

    pub(super) fn leafs(&self) -> impl Iterator<Item = Id> {
        self.leafs.iter().copied()
    }

    fn push(&mut self, mut node: Node) -> Id {
        node.bytes = node.bytes.min(LARGEST);
        let id = Id(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(node);
        id
    }

    /// Puts a tensor and all it is computed from into the order of execution: sources first, the
    /// first source foremost, each tensor once.
    pub(super) fn expand(&mut self, id: Id) {
        let mut stack = vec![(id, 0)];
        while let Some((id, next)) = stack.pop() {
            let node = self.node(id);
            if next == 0 && node.visited {
                continue;
            }
            if let Some(src) = node.srcs.get(next).copied() {
                if let Some(n) = self.nodes.get_mut(id.index()) {
                    n.visited = true;
                }
                stack.push((id, next + 1));
                if !self.node(src).visited {
                    stack.push((src, 0));
                }
                continue;
            }
            let is_input = node.kind == Kind::Input;
            if let Some(n) = self.nodes.get_mut(id.index()) {
                n.visited = true;
            }
            if is_input {
                self.leafs.push(id);
            } else {
                self.order.push(id);
            }
        }
    }

    /// A tensor that is filled before the graph runs.
    pub(super) fn input(&mut self, bytes: u64) -> Id {
        self.push(Node {
            kind: Kind::Input,
            bytes,
            external: false,
            fixed: Some(HOST),
            ..NOWHERE.clone()
        })
    }

    /// An operation that needs room of its own.
    pub(super) fn op(&mut self, bytes: u64, srcs: &[Id]) -> Id {
        self.operation(bytes, srcs, false, None)
    }

    /// An element-wise operation, as large as its first input.
    pub(super) fn unary(&mut self, srcs: &[Id]) -> Id {
        let bytes = srcs.first().map_or(0, |s| self.node(*s).bytes);
        self.operation(bytes, srcs, true, None)
    }

    /// An element-wise operation of so many bytes, over inputs that may be laid out otherwise.
    pub(super) fn sum(&mut self, bytes: u64, srcs: &[Id]) -> Id {
        self.operation(bytes, srcs, true, None)
    }

    /// An operation with a weight that lies on `backend`.
    pub(super) fn weighted(&mut self, backend: u8, bytes: u64, srcs: &[Id]) -> Id {
        self.operation(bytes, srcs, false, Some(backend))
    }

    /// An element-wise operation with a weight that lies on `backend`.
    pub(super) fn weighted_unary(&mut self, backend: u8, srcs: &[Id]) -> Id {
        let bytes = srcs.first().map_or(0, |s| self.node(*s).bytes);
        self.operation(bytes, srcs, true, Some(backend))
    }

    fn operation(&mut self, bytes: u64, srcs: &[Id], in_place: bool, fixed: Option<u8>) -> Id {
        self.push(Node {
            kind: Kind::Op,
            bytes,
            srcs: srcs.to_vec(),
            in_place,
            external: false,
            fixed,
            ..NOWHERE.clone()
        })
    }

    /// Writes into a cache that lies on `backend`.
    pub(super) fn store(&mut self, backend: u8, srcs: &[Id]) {
        let id = self.push(Node {
            kind: Kind::Op,
            srcs: srcs.to_vec(),
            fixed: Some(backend),
            ..NOWHERE.clone()
        });
        self.expand(id);
    }

    /// Writes into a tensor of the graph; the result shows that tensor's bytes.
    pub(super) fn write(&mut self, into: Id, srcs: &[Id]) -> Id {
        let root = self.node(into).view_of.unwrap_or(into);
        let bytes = self.node(root).bytes;
        let id = self.op(bytes, srcs);
        if let Some(n) = self.nodes.get_mut(id.index()) {
            n.view_of = Some(root);
        }
        id
    }

    /// Another look at all bytes of a tensor, in order.
    pub(super) fn reshape(&mut self, src: Id) -> Id {
        let n = self.node(src);
        let (bytes, contiguous) = (n.bytes, n.contiguous);
        self.view(src, bytes, contiguous)
    }

    /// A look at `bytes` of a tensor; `contiguous` where they follow each other.
    pub(super) fn view(&mut self, src: Id, bytes: u64, contiguous: bool) -> Id {
        let root = self.node(src).view_of.unwrap_or(src);
        let external = self.node(root).external;
        self.push(Node {
            kind: Kind::View,
            bytes,
            srcs: vec![src],
            view_of: Some(root),
            contiguous,
            external,
            ..NOWHERE.clone()
        })
    }

    /// States how far a view's rows reach.
    pub(super) fn set_span(&mut self, id: Id, span: u64) {
        if let Some(n) = self.nodes.get_mut(id.index()) {
            n.span = span.min(LARGEST);
        }
    }

    /// Keeps a tensor until the graph ends.
    pub(super) fn keep(&mut self, id: Id) {
        if let Some(n) = self.nodes.get_mut(id.index()) {
            n.output = true;
        }
    }

    /// Assigns every operation to device or host and adds the copies between them.
    pub(super) fn schedule(&mut self) -> Vec<Scheduled> {
        let place = self.assign();
        let mut out = Vec::with_capacity(self.order.len() + 64);
        let order = std::mem::take(&mut self.order);
        // (device, host) copies of each tensor
        let mut copies: Vec<[Option<Id>; 2]> = vec![[None; 2]; self.nodes.len()];
        let at = |place: &[Option<u8>], id: Id| place.get(id.index()).copied().flatten();
        let mut start = 0;
        while start < order.len() {
            // A split: the operations up to the next one that runs elsewhere; views join it.
            let here = order
                .iter()
                .skip(start)
                .find(|id| self.node(**id).kind != Kind::View)
                .and_then(|id| at(&place, *id))
                .unwrap_or(HOST);
            let mut inputs: Vec<(Id, Id)> = Vec::new();
            let mut end = start;
            while let Some(id) = order.get(end).copied() {
                if self.node(id).kind != Kind::View {
                    if at(&place, id).unwrap_or(HOST) != here {
                        break;
                    }
                    self.copy_inputs(id, here, &place, &mut copies, &mut inputs);
                }
                end += 1;
            }
            for (source, copy) in inputs {
                let root = self.node(source).view_of.unwrap_or(source);
                let dependency = self.push(Node {
                    kind: Kind::Dependency,
                    srcs: vec![source],
                    view_of: Some(root),
                    ..NOWHERE.clone()
                });
                let from = at(&place, source).unwrap_or(HOST);
                for (id, backend) in [(dependency, from), (copy, here)] {
                    out.push(Scheduled { id, backend });
                }
            }
            for id in order.get(start..end).unwrap_or_default() {
                let backend = at(&place, *id).unwrap_or(here);
                out.push(Scheduled { id: *id, backend });
            }
            start = end.max(start + 1);
        }
        out
    }

    /// Gives an operation that runs `here` copies of the inputs that lie elsewhere.
    fn copy_inputs(
        &mut self,
        id: Id,
        here: u8,
        place: &[Option<u8>],
        copies: &mut [[Option<Id>; 2]],
        inputs: &mut Vec<(Id, Id)>,
    ) {
        let mut srcs = self.node(id).srcs.clone();
        for s in &mut srcs {
            let there = place.get(s.index()).copied().flatten();
            if there.is_none_or(|b| b == here) {
                continue;
            }
            let Some(slot) = copies
                .get_mut(s.index())
                .and_then(|c| c.get_mut(usize::from(here)))
            else {
                continue;
            };
            let copy = if let Some(copy) = *slot {
                copy
            } else {
                let n = self.node(*s);
                let (bytes, contiguous) = (n.bytes.max(n.span), n.contiguous);
                let copy = self.push(Node {
                    kind: Kind::Op,
                    bytes,
                    contiguous,
                    external: false,
                    fixed: Some(here),
                    ..NOWHERE.clone()
                });
                *slot = Some(copy);
                inputs.push((*s, copy));
                copy
            };
            *s = copy;
        }
        if let Some(n) = self.nodes.get_mut(id.index()) {
            n.srcs = srcs;
        }
    }

    /// Where each tensor lies; operations without weights follow their neighbours, the device
    /// first.
    fn assign(&self) -> Vec<Option<u8>> {
        let mut place: Vec<Option<u8>> = self.nodes.iter().map(|n| n.fixed).collect();
        let ops: Vec<usize> = self
            .order
            .iter()
            .filter(|id| self.node(**id).kind == Kind::Op)
            .map(|id| id.index())
            .collect();
        let spread = |place: &mut Vec<Option<u8>>, down: bool, device_only: bool| {
            let mut current = None;
            let mut visit = |i: usize| match place.get_mut(i) {
                Some(Some(b)) => {
                    current = (!device_only || *b == DEVICE).then_some(*b);
                }
                Some(slot) => *slot = current,
                None => {}
            };
            if down {
                for i in &ops {
                    visit(*i);
                }
            } else {
                for i in ops.iter().rev() {
                    visit(*i);
                }
            }
        };
        spread(&mut place, true, true);
        spread(&mut place, false, true);
        spread(&mut place, true, false);
        spread(&mut place, false, false);
        for (i, n) in self.nodes.iter().enumerate() {
            if let Some(root) = n.view_of
                && n.kind == Kind::View
            {
                let b = place.get(root.index()).copied().flatten();
                if let Some(slot) = place.get_mut(i) {
                    *slot = b;
                }
            }
        }
        place
    }
}
