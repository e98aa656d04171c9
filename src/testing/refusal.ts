/** The kernel's refusal of a message: the errno, and where an extended acknowledgement points. */
export class Refusal {
  readonly errno: number;
  /** Of the attribute's header, from the start of the message. */
  readonly offset: number | undefined;
  readonly text: string | undefined;
  /** The rule that an attribute has broken, as the kernel describes it. */
  readonly policy: Uint8Array | undefined;

  constructor(errno: number, offset?: number, text?: string, policy?: Uint8Array) {
    this.errno = errno;
    this.offset = offset;
    this.text = text;
    this.policy = policy;
  }
}

export const EPERM = -1;
export const ENOENT = -2;
export const ESRCH = -3;
export const E2BIG = -7;
export const EBADF = -9;
export const EAGAIN = -11;
export const ENOMEM = -12;
export const EACCES = -13;
export const EFAULT = -14;
export const EBUSY = -16;
export const EEXIST = -17;
export const ENODEV = -19;
export const EINVAL = -22;
export const ENFILE = -23;
export const EMFILE = -24;
export const EFBIG = -27;
export const ENOSPC = -28;
export const EMLINK = -31;
export const ERANGE = -34;
export const ELOOP = -40;
export const ENODATA = -61;
export const EPROTO = -71;
export const EOVERFLOW = -75;
export const ERESTART = -85;
export const EMSGSIZE = -90;
export const ENOPROTOOPT = -92;
export const EPROTONOSUPPORT = -93;
export const EOPNOTSUPP = -95;
export const EAFNOSUPPORT = -97;
export const EADDRNOTAVAIL = -99;
export const ENETDOWN = -100;
export const ENETUNREACH = -101;
export const ENOBUFS = -105;
export const ESHUTDOWN = -108;
export const EHOSTUNREACH = -113;
/** The kernel's own, which has no name among those of POSIX. */
export const ENOTSUPP = -524;

export function refuse(errno: number, at?: { readonly offset: number }, text?: string): never {
  throw new Refusal(errno, at?.offset, text);
}

/** Throws an error on; a refusal that points nowhere points at the attribute from here on. */
export function refuseAt(error: unknown, at: { readonly offset: number }): never {
  if (!(error instanceof Refusal) || error.offset !== undefined) throw error;
  throw new Refusal(error.errno, at.offset, error.text);
}
