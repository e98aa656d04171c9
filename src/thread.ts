/** The parts of the state, by the room that keeps each. docs/architecture.md has the same list. */
export const PARTS = {
  'codec.texts': 'the last 256 names that were decoded, of at most 32 bytes each',
  'errors.errnos': "Node's names of errnos",
  'ffi.backend': 'the backend that this thread calls C by',
  'ffi.descriptors':
    'the finaliser of forgotten descriptors, who opened each while that is traced, and the closes under way',
  'ffi.offThread': 'what leaves the thread, and how much of it at once',
  'netns.switcher': 'the namespace that this thread is in, and the way into others',
  'netns.home': 'the namespace that the process was started in',
  'netlink.families': 'the numbers of generic netlink families',
  'netlink.kernel': "the kernel's address",
  'netlink.queues': 'a queue for each namespace and subsystem with an open handle',
  'netlink.received':
    'the buffer that answers are received into, and decoded from before anything else can be received',
  'netlink.spare': 'the buffer of the last batch, at most 2 MiB',
  'observe.instruments': 'the tracing channel and the debug log',
  'ipvs.backends': 'the ways to IPVS of each open handle',
  'ipvs.templates': 'the requests that large batches copy, from the first such batch on',
  'nflog.clock': 'the difference between the monotonic clock and the time of day',
  'nflog.columns': 'the packet whose columns were last asked for',
  'nflog.packet': 'the offsets of attributes in the packet that was last asked for a field',
  'nflog.slab': 'the memory that packets are read into, 4 MiB, until packets that are kept fill it',
  'nf_tables.rows': 'the rows of each table by their fields',
  'nf_tables.told': 'the fields of each table that the kernel only tells',
  'nf_tables.variants': 'the types that a field may have, by the type that chooses among them',
  'nftables.elements': 'the templates of plain elements, by the lengths of their keys and values',
  'nftables.shapes': 'what elements are like, by the names of the types of key and value, at most 256',
  'nftables.handles': "where replies have the kernel's numbers of objects, by the kind of reply",
  'nftables.rules': 'the templates of rules, by the shapes of their statements',
  'testing.hooks': 'the hooks of each kernel in memory in their order, until its rules change',
  'testing.numbers': 'the last numbers of namespaces and descriptors that kernels in memory have given away',
  'nftables.encoder': 'the rule that was written last, from which the next one is copied where they agree',
  'nftables.repeated': 'the messages of the last eight tables and chains that were made',
  'nftables.room': 'the memory that small transactions are encoded into, 16 KiB at a time',
  'iptables.extensions': 'the extensions of iptables by their words and protocols',
  'nft.paths': 'the paths of statements, as errors name them',
} as const;

const kept = new Map<string, object>();

/**
 * Registers a part of the library's state for this thread, and returns it. All other state belongs to handles. Threads share nothing: a
 * Worker that imports the library has its own state.
 * @param part its name; each is kept by one module
 * @param initial the first state. Modules pass it when they are imported, so it must not open or load anything.
 */
export function ofThread<S extends object>(part: keyof typeof PARTS, initial: S): S {
  kept.set(part, initial);
  return initial;
}

/** The state of this thread by part, for tests and debuggers. */
export function threadState(): ReadonlyMap<string, object> {
  return kept;
}
