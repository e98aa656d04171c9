import { GENL_ID_CTRL } from '../../linux/genetlink.ts';
import { NLM_F_DUMP_INTR, NLMSG_HDRLEN } from '../../linux/netlink.ts';

/** Socket options are requests, too: these stand in the place of a protocol of netlink. */
export const SET_OPTION = -1;
export const GET_OPTION = -2;

/** A request, as a fault asks for it. */
export interface RequestKind {
  readonly protocol: number;
  readonly type: number;
  /** Of a generic netlink family. */
  readonly command?: number;
}

/** What a program has asked for: the system call, the namespace, and the request that is carried out, if it is one. */
export interface Occasion {
  readonly namespace: number;
  readonly syscall?: 'socket' | 'sendto' | 'recvmsg';
  readonly request?: RequestKind;
}

/** One thing that goes wrong, `left` times more. */
export interface Fault {
  /** 'refuse' ends a call or a request with the errno; the others lose what the kernel has to say. */
  readonly effect: 'refuse' | 'lose answer' | 'lose event' | 'lose log' | 'interrupt dump';
  readonly errno: number;
  /** The inode of the only namespace that it meets; undefined for all. */
  readonly namespace: number | undefined;
  readonly syscall: Occasion['syscall'];
  readonly request: RequestKind | undefined;
  /** The operation of the library during which it happens. */
  readonly operation: string | undefined;
  left: number;
}

/** Tells which operations of the library are under way in a namespace. */
export type OperationsUnderWay = (namespace: number) => ReadonlySet<string> | undefined;

/** What is made to fail in a kernel in memory. */
export class Faults {
  #pending: Fault[] = [];
  #underWay: OperationsUnderWay = () => undefined;
  /** Called when no fault that names an operation is left. */
  #settled = () => {};

  add(fault: Fault): void {
    this.#pending.push(fault);
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Whether a fault names an operation. */
  get namesOperation(): boolean {
    return this.#pending.some(({ operation }) => operation !== undefined);
  }

  follow(underWay: OperationsUnderWay, settled: () => void): void {
    this.#underWay = underWay;
    this.#settled = settled;
  }

  /** Takes the first fault of the effect that the occasion meets. */
  take(effect: Fault['effect'], occasion: Occasion): Fault | undefined {
    if (this.#pending.length === 0) return undefined;
    const fault = this.#pending.find(each => each.effect === effect && this.#meets(each, occasion));
    if (fault === undefined) return undefined;
    if (--fault.left === 0) {
      this.#pending = this.#pending.filter(each => each !== fault);
      if (!this.namesOperation) this.#settled();
    }
    return fault;
  }

  #meets(fault: Fault, { namespace, syscall, request }: Occasion): boolean {
    if (fault.namespace !== undefined && fault.namespace !== namespace) return false;
    // A fault of requests is none of the calls that carry them, and the other way round.
    if (fault.syscall !== syscall) return false;
    if (fault.request !== undefined && !isSame(fault.request, request)) return false;
    // Asking for the number of a family is no request of the operation itself.
    if (fault.operation !== undefined && fault.request === undefined && request?.type === GENL_ID_CTRL) return false;
    return fault.operation === undefined || (this.#underWay(namespace)?.has(fault.operation) ?? false);
  }

  /** Carries something out without any fault. */
  without<T>(work: () => T): T {
    const pending = this.#pending;
    this.#pending = [];
    try {
      return work();
    } finally {
      this.#pending = pending;
    }
  }

  clear(): void {
    this.#pending = [];
    this.#settled();
  }
}

const isSame = (asked: RequestKind, request: RequestKind | undefined): boolean =>
  request !== undefined &&
  asked.protocol === request.protocol &&
  asked.type === request.type &&
  (asked.command === undefined || asked.command === request.command);

/** Says in the messages of a datagram that the dump was interrupted (NLM_F_DUMP_INTR). */
export function interrupted(datagram: Uint8Array): Uint8Array {
  // Not slice(): that of a Buffer shares the memory of many, which begins elsewhere.
  const copy = new Uint8Array(datagram);
  const view = new DataView(copy.buffer);
  for (let at = 0; at + NLMSG_HDRLEN <= copy.length; at += (view.getUint32(at, true) + 3) & ~3)
    view.setUint16(at + 6, view.getUint16(at + 6, true) | NLM_F_DUMP_INTR, true);
  return copy;
}
