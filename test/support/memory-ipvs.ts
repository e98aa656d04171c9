import { afterAll } from 'vitest';
import { Ipvs, type Via } from '../../src/ipvs/index.ts';
import { GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { NLM_F_ACK, NLM_F_DUMP } from '../../src/linux/netlink.ts';
import { NetNs } from '../../src/netns/index.ts';
import type { Logger } from '../../src/observe.ts';
import { addLink } from '../../src/testing/devices.ts';
import { generic } from '../../src/testing/generic.ts';
import { ipvsOptions } from '../../src/testing/ipvs/sockopt.ts';
import type { Destination } from '../../src/testing/ipvs/state.ts';
import { MemoryAccess } from '../../src/testing/machine/access.ts';
import { MemoryCalls } from '../../src/testing/machine/calls.ts';
import { type Family, Machine, type OptionFamily } from '../../src/testing/machine/machine.ts';
import type { MemorySocket } from '../../src/testing/machine/socket.ts';
import type { Namespace } from '../../src/testing/machine/state.ts';
import { EPERM, Refusal } from '../../src/testing/refusal.ts';
import { routing } from '../../src/testing/rtnetlink/routing.ts';

const handles: Ipvs[] = [];
afterAll(() => Promise.all(handles.splice(0).map(each => each[Symbol.asyncDispose]())));

export interface MemoryIpvsOptions {
  /** The container is unprivileged: netlink is refused, socket options are not. */
  readonly userNamespace?: boolean;
  /** The kernel does not have these modules. */
  readonly modules?: readonly string[];
  readonly logger?: Logger | undefined;
}

/**
 * IPVS of the kernel in memory, open to the test: it sees each request before the kernel does, may refuse it, looks at what the kernel holds,
 * and gives servers connections that no packet has made.
 */
export class MemoryIpvs {
  /** Every change that was asked for, by its command of netlink or by its socket option, and the errno. */
  readonly log: { command: number; errno: number }[] = [];
  /** Every datagram of netlink. */
  readonly sent: Uint8Array[] = [];
  /** Called before each request, to do what others do at the same time. */
  before: ((command: number) => void) | undefined;
  /** The errno with which a change is refused; undefined lets it pass. */
  refuses: ((command: number) => number | undefined) | undefined;
  /** The answers of one datagram that fit the receive buffer. */
  answersKept: ((datagram: Uint8Array) => number) | undefined;
  /** Socket options are refused, too. */
  optionsDenied = false;
  readonly netns: NetNs;
  readonly #namespace: Namespace;
  readonly #sockets = new Set<MemorySocket>();

  constructor({ userNamespace = false, modules }: MemoryIpvsOptions) {
    const machine = new Machine(
      { version: [6, 12], modules: modules && new Set(modules) },
      [this.#watched(generic), routing],
      [this.#options(ipvsOptions)],
    );
    this.#namespace = machine.createNamespace('web', userNamespace);
    addLink(this.#namespace, { name: 'eth0' });
    const calls = new MemoryCalls(machine);
    this.netns = NetNs.over(new MemoryAccess(machine, calls, calls.openNamespace(this.#namespace.inode)));
  }

  #watched(family: Family): Family {
    let kept = Number.POSITIVE_INFINITY;
    return {
      ...family,
      datagram: (_machine, socket, datagram) => {
        this.sent.push(datagram);
        this.#sockets.add(socket);
        kept = this.answersKept?.(datagram) ?? Number.POSITIVE_INFINITY;
        return false;
      },
      answer: (machine, socket, request) => {
        if (request.type === GENL_ID_CTRL) return family.answer(machine, socket, request);
        const command = request.bytes[16]!;
        if ((request.flags & NLM_F_DUMP) === NLM_F_DUMP || isReading(command)) {
          this.before?.(command);
          return family.answer(machine, socket, request);
        }
        const refusal = this.#change(command, () => {
          try {
            family.answer(machine, socket, request);
          } catch (error) {
            if (error instanceof Refusal) return error;
            throw error;
          }
          return undefined;
        });
        const isAnswered = refusal !== undefined || (request.flags & NLM_F_ACK) !== 0;
        if (isAnswered && kept-- <= 0) socket.losesAnswers = true;
        if (refusal !== undefined) throw refusal;
      },
    };
  }

  #change(command: number, work: () => Refusal | undefined): Refusal | undefined {
    this.before?.(command);
    const errno = this.refuses?.(command);
    const refusal = errno === undefined ? work() : new Refusal(errno);
    this.log.push({ command, errno: refusal?.errno ?? 0 });
    return refusal;
  }

  #options(family: OptionFamily): OptionFamily {
    return {
      level: family.level,
      set: (machine, namespace, name, value) => {
        if (this.optionsDenied) return EPERM;
        const refusal = this.#change(name, () => {
          const errno = family.set(machine, namespace, name, value);
          return errno < 0 ? new Refusal(errno) : undefined;
        });
        return refusal?.errno ?? 0;
      },
      get: (machine, namespace, name, value) => {
        if (this.optionsDenied) return EPERM;
        this.before?.(name);
        return family.get(machine, namespace, name, value);
      },
    };
  }

  /** What the kernel holds, the services in the order in which they were added. */
  get services() {
    return this.#namespace.ipvs.services;
  }
  get daemons() {
    return this.#namespace.ipvs.daemons;
  }
  get timeouts() {
    return this.#namespace.ipvs.timeouts;
  }
  get destinations(): Destination[] {
    return this.services.flatMap(({ destinations }) => destinations);
  }

  /** The servers whose address ends so. */
  servers(last: number): Destination[] {
    return this.destinations.filter(({ address }) => address.at(-1) === last);
  }

  /** How many sockets have something to read. */
  get waiting(): number {
    return [...this.#sockets].filter(({ readable }) => readable).length;
  }

  open(via: Via = 'auto', logger?: Logger): Ipvs {
    const ipvs = Ipvs.open({ netns: this.netns, via, ...(logger && { logger }) });
    handles.push(ipvs);
    return ipvs;
  }
}

const READING: ReadonlySet<number> = new Set([
  C.IPVS_CMD_GET_SERVICE,
  C.IPVS_CMD_GET_DEST,
  C.IPVS_CMD_GET_DAEMON,
  C.IPVS_CMD_GET_CONFIG,
  C.IPVS_CMD_GET_INFO,
]);
const isReading = (command: number): boolean => READING.has(command);

/** A handle of IPVS of a kernel in memory. */
export function openIpvs(via?: Via, options: MemoryIpvsOptions = {}): { kernel: MemoryIpvs; ipvs: Ipvs } {
  const kernel = new MemoryIpvs(options);
  return { kernel, ipvs: kernel.open(via, options.logger) };
}
