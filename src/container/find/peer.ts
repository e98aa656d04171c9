import fsp from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { connectUnix } from '../../netlink/unix-socket.ts';
import { isOurs } from './files.ts';

/** As many as the kernel follows (linux/namei.h, MAXSYMLINKS). */
const LINKS_FOLLOWED = 40;
const STICKY = 0o1000;
const WRITABLE_FOR_ALL = 0o002;

/** The owner of the socket at a path cannot be told for certain. */
export class Untrusted extends Error {}

/** A connection, and the user who answers on it: undefined for root and for the user of this process. */
export interface Peer {
  readonly socket: Socket;
  readonly owner: number | undefined;
}

/**
 * Connects to a daemon's socket and finds out which user answers. Every owner of a folder on the way could put another socket there, so the
 * path is checked first. The path may change at any moment, so the process at the other end is checked after the connection (SO_PEERCRED).
 * If both are users and not the same one, the answer is refused. Links of users are not followed.
 * @throws Untrusted, or the error of the connection
 */
export async function connect(path: string, signal: AbortSignal): Promise<Peer> {
  const owner = await ownerOfPath(path);
  const { socket, uid } = await connectUnix(path, signal);
  if (owner !== undefined && uid !== owner && !isOurs(uid)) {
    socket.destroy();
    throw new Untrusted(`the socket is user ${owner}'s, but user ${uid} answers`);
  }
  return { socket, owner: owner ?? (isOurs(uid) ? undefined : uid) };
}

/** The user who can change where a path leads; undefined if only root and the user of this process can. */
export async function ownerOfPath(path: string): Promise<number | undefined> {
  let owner: number | undefined;
  let parts = resolve(path).split('/');
  let at = '/';
  let links = 0;
  while (parts.length > 0) {
    const name = parts.shift()!;
    const next = name === '..' ? join(at, '..') : join(at, name);
    const { uid, mode, isLink } = await lookAt(next);
    if (!isOurs(uid)) {
      if (owner !== undefined && owner !== uid)
        throw new Untrusted(`users ${owner} and ${uid} can both change where the path leads`);
      owner = uid;
    }
    if (!isLink) {
      // In a sticky folder (/tmp) only the owner of a name can change it.
      if ((mode & WRITABLE_FOR_ALL) !== 0 && (mode & STICKY) === 0 && parts.length > 0)
        throw new Untrusted(`everybody may write into ${next}`);
      at = next;
      continue;
    }
    if (owner !== undefined) throw new Untrusted(`${next} is a link that user ${owner} can change`);
    if (++links > LINKS_FOLLOWED) throw new Untrusted('the path leads through too many links');
    const target = await fsp.readlink(next);
    if (target.startsWith('/')) at = '/';
    parts = [...target.split('/'), ...parts];
  }
  return owner;
}

async function lookAt(path: string): Promise<{ uid: number; mode: number; isLink: boolean }> {
  const stat = await fsp.lstat(path);
  return { uid: stat.uid, mode: stat.mode, isLink: stat.isSymbolicLink() };
}
