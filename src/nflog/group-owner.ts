import fs from 'node:fs';
import { printable } from '../errors.ts';
import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import type { NetNs } from '../netns/netns.ts';

/**
 * Explains an EPERM. The kernel returns it to callers without the right, and to callers whose group is taken.
 * /proc/net/netfilter/nfnetlink_log of the namespace tells which: 'group port queued copy_mode copy_range timeout
 * refcount', one line for each bound group.
 */
export function explainPermission(netns: NetNs, group: number): string {
  const right = 'NFLOG needs CAP_NET_ADMIN in the user namespace that owns the network namespace';
  let port: number | undefined;
  try {
    port = portOf(netns.readFile('/proc/net/netfilter/nfnetlink_log'), group);
  } catch {
    return `${right}, or another socket holds group ${group} (nfnetlink_log under /proc/net/netfilter cannot be read)`;
  }
  if (port === undefined) return right;
  const who = processOf(netns, port);
  return `group ${group} is taken: port id ${port} holds it${who === undefined ? '' : `, ${who}`}`;
}

function portOf(table: string, group: number): number | undefined {
  for (const line of table.split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (fields[0] === String(group)) return Number(fields[1]);
  }
  return undefined;
}

/**
 * The process behind a port id. Most sockets have their process's pid as port id, but any other number is possible:
 * the process is named only if the socket with that port is among its descriptors.
 */
function processOf(netns: NetNs, port: number): string | undefined {
  try {
    const inode = socketInode(netns.readFile('/proc/net/netlink'), port);
    if (inode === undefined) return undefined;
    if (hasSocket(process.pid, inode)) return 'another log of this process';
    if (!hasSocket(port, inode)) return undefined;
    return `process ${port} (${printable(fs.readFileSync(`/proc/${port}/comm`, 'utf8').trimEnd())})`;
  } catch {
    return undefined;
  }
}

/** Columns of /proc/net/netlink: sk, Eth (the protocol), Pid (the port), ..., Inode. */
function socketInode(table: string, port: number): string | undefined {
  for (const line of table.split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === String(NETLINK_NETFILTER) && fields[2] === String(port)) return fields.at(-1);
  }
  return undefined;
}

function hasSocket(pid: number, inode: string): boolean {
  const directory = `/proc/${pid}/fd`;
  let names: string[] = [];
  try {
    names = fs.readdirSync(directory);
  } catch {
    return false;
  }
  return names.some(name => {
    try {
      return fs.readlinkSync(`${directory}/${name}`) === `socket:[${inode}]`;
    } catch {
      return false;
    }
  });
}
