import { isPermission } from '../../errors.ts';
import type { WireCommand, WireDestination, WireService } from '../../ip_vs/attributes.ts';
import type { EncodedRequests, Exchange, Operation, PipelineResult } from '../../netlink/index.ts';
import { ofThread } from '../../thread.ts';
import type { Backend, IpvsCommand, IpvsInfo } from './backend.ts';
import { NetlinkBackend } from './netlink.ts';
import type { IpvsTransport } from './socket.ts';
import { SockoptBackend } from './sockopt.ts';

/** The backends of one handle. */
export interface Backends {
  /** Takes the requests. */
  backend: Backend;
  /**
   * The socket options, which list IPv4 services, or the IPv4 destinations of one, in one call under the kernel's mutex. Undefined if they do not
   * work here.
   */
  options(): SockoptBackend | undefined;
}

const backends = ofThread('ipvs.backends', new WeakMap<Exchange, Backends>());

/** The backends of a handle, made once. */
export function backendsOf(exchange: Exchange): Backends {
  const known = backends.get(exchange) ?? makeBackends(exchange);
  backends.set(exchange, known);
  return known;
}

function makeBackends(exchange: Exchange): Backends {
  const transport = exchange.transport as Partial<IpvsTransport>;
  if (transport.options === undefined) return { backend: new NetlinkBackend(exchange), options: () => undefined };
  const open = () => new SockoptBackend(exchange, (transport as IpvsTransport).options());
  if (transport.via === 'sockopt') {
    const backend = open();
    return { backend, options: () => backend };
  }
  const netlink = new NetlinkBackend(exchange);
  const options = memoized(open);
  return { backend: transport.via === 'netlink' ? netlink : new AutomaticBackend(exchange, netlink, options), options };
}

/** Opens once, and does not try again after a failure: the socket options only make reading faster. */
function memoized(open: () => SockoptBackend): () => SockoptBackend | undefined {
  let opened: { backend: SockoptBackend | undefined } | undefined;
  return () => {
    if (opened === undefined) {
      try {
        opened = { backend: open() };
      } catch {
        opened = { backend: undefined };
      }
    }
    return opened.backend;
  };
}

/** Netlink. If its first request is refused with EPERM, and the socket options are permitted, they are used from then on. */
class AutomaticBackend implements Backend {
  readonly #exchange: Exchange;
  readonly #open: () => SockoptBackend | undefined;
  #current: Backend;
  /** A request was permitted: the backend does not change any more. */
  #decided = false;

  constructor(exchange: Exchange, netlink: NetlinkBackend, open: () => SockoptBackend | undefined) {
    this.#exchange = exchange;
    this.#current = netlink;
    this.#open = open;
  }

  get via(): 'netlink' | 'sockopt' {
    return this.#current.via;
  }

  info(): Operation<IpvsInfo> {
    return this.#try(backend => backend.info());
  }
  request(command: IpvsCommand): Operation<void> {
    return this.#try(backend => backend.request(command));
  }
  get<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R> {
    return this.#try(backend => backend.get(command, read));
  }
  dump<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R[]> {
    return this.#try(backend => backend.dump(command, read));
  }
  services(withStats: boolean): Operation<WireService[]> {
    return this.#try(backend => backend.services(withStats));
  }
  destinations(service: WireService, withStats: boolean): Operation<WireDestination[]> {
    return this.#try(backend => backend.destinations(service, withStats));
  }

  // One small request decides before a batch is sent, so that not the whole batch is refused.
  *pipeline(commands: readonly IpvsCommand[]): Operation<PipelineResult> {
    if (!this.#decided && commands.length > 0) yield* this.info();
    return yield* this.#current.pipeline(commands);
  }
  *stream(
    messages: EncodedRequests,
    command: (index: number) => IpvsCommand,
    begin = 0,
    end = messages.length,
  ): Operation<PipelineResult> {
    if (!this.#decided && begin < end) yield* this.info();
    return yield* this.#current.stream(messages, command, begin, end);
  }

  *#try<R>(call: (backend: Backend) => Operation<R>): Operation<R> {
    if (this.#decided) return yield* call(this.#current);
    try {
      const result = yield* call(this.#current);
      this.#decided = true;
      return result;
    } catch (error) {
      if (!isPermission(error)) throw error;
      const other = yield* this.#permitted();
      if (other === undefined) throw error;
      this.#decided = true;
      this.#current = other;
    }
    return yield* call(this.#current);
  }

  /** The socket options, if they answer. */
  *#permitted(): Operation<Backend | undefined> {
    const other = this.#open();
    if (other === undefined) return undefined;
    try {
      yield* other.info();
    } catch {
      // The error of netlink says more.
      return undefined;
    }
    const { observer, transport, operation } = this.#exchange;
    observer.warn(
      { family: 'ipvs', operation, netns: transport.netnsInode, via: 'sockopt' },
      'IPVS over netlink is not permitted here: its socket options are used instead, which carry IPv4 only',
    );
    return other;
  }
}
