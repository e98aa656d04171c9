import fs from 'node:fs';
import { NS_GET_OWNER_UID, NS_GET_PARENT, NS_GET_USERNS } from '../linux/nsfs.ts';
import type { NetNs } from './netns.ts';
import { statOf } from './stat.ts';

/** linux/proc_ns.h: the user namespace that the machine started with. */
const PROC_USER_INIT_INO = 0xeffffffd;
/** Bits of linux/capability.h, as /proc/PID/status shows them. */
const CAPABILITIES = { CAP_NET_ADMIN: 12n, CAP_SYS_PTRACE: 19n, CAP_SYS_ADMIN: 21n } as const;

export type Capability = keyof typeof CAPABILITIES;

/** The owner of a network namespace, seen from here: the own user namespace, one below it, or another one, where this process has no rights. */
export type Reach = 'own' | 'below' | 'outside';

/** Whether this thread has a capability, in its own user namespace. */
export function hasCapability(name: Capability): boolean {
  const effective = effectiveIn(fs.readFileSync('/proc/thread-self/status', 'latin1'));
  return ((effective >> CAPABILITIES[name]) & 1n) === 1n;
}

/** The effective capabilities in the text of /proc/PID/status, as bits; none where it does not say. */
export function effectiveIn(status: string): bigint {
  return BigInt(`0x${/^CapEff:\t([0-9a-f]{1,16})$/m.exec(status)?.[1] ?? '0'}`);
}

/** Whether this process is in no user namespace but the machine's: generic netlink asks for capabilities in that one. */
export function isInitialUser(): boolean {
  return fs.statSync('/proc/thread-self/ns/user').ino === PROC_USER_INIT_INO;
}

/** A capability in the own user namespace counts in those below it, and nowhere else. */
export function reachOf(netns: NetNs): Reach {
  const { ffi } = netns.access;
  const fd = ffi.ioctl(netns.descriptor, NS_GET_USERNS, null);
  if (fd < 0) return 'outside';
  try {
    return statOf(fd).ino === fs.statSync('/proc/thread-self/ns/user').ino ? 'own' : 'below';
  } finally {
    ffi.close(fd);
  }
}

/** User namespaces are nested at most so deep (linux/user_namespace.h). */
const MAX_DEPTH = 33;

/**
 * The users who have made the user namespaces that a network namespace belongs to, from the innermost outwards, without the machine's. As the kernel
 * says of the namespace itself: no process has a say in it. Empty where it belongs to the machine, or the kernel does not tell.
 */
export function makersOf(netns: NetNs): number[] {
  const makers: number[] = [];
  const uid = new Uint32Array(1);
  const { ffi } = netns.access;
  let fd = ffi.ioctl(netns.descriptor, NS_GET_USERNS, null);
  for (let depth = 0; fd >= 0 && depth < MAX_DEPTH; depth++) {
    let parent = -1;
    try {
      if (statOf(fd).ino === PROC_USER_INIT_INO) return makers;
      if (ffi.ioctl(fd, NS_GET_OWNER_UID, new Uint8Array(uid.buffer)) < 0) return makers;
      makers.push(uid[0]!);
      // The kernel refuses this outside of the own user namespace.
      parent = ffi.ioctl(fd, NS_GET_PARENT, null);
    } finally {
      ffi.close(fd);
    }
    fd = parent;
  }
  if (fd >= 0) ffi.close(fd);
  return makers;
}
