import fsp from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { connectUnix } from '../../netlink/unix-socket.ts';
import { isOurs } from './files.ts';

/** As the kernel follows them (linux/namei.h, MAXSYMLINKS). */
const LINKS_FOLLOWED = 40;
const STICKY = 0o1000;
const WRITABLE_FOR_ALL = 0o002;

/** A path of whose end nobody can say whose it is. */
export class Untrusted extends Error {}

/** A connection, and the user whose word is what comes over it: undefined is root, or who runs this process. */
export interface Peer {
  readonly socket: Socket;
  readonly owner: number | undefined;
}

/**
 * Connects to a daemon's socket. What it says is the word of the user who can put another socket in its place, which every owner of a folder on the way
 * can, and of the process at the other end; where those are two, nobody's. Asked before the connection and of the connection itself, for a
 * path may lead elsewhere at any moment; links of users are not followed.
 * @throws Untrusted, or what keeps it from connecting
 */
export async function connect(path: string, signal: AbortSignal): Promise<Peer> {
  const owner = await ownerOfPath(path);
  const { socket, uid } = await connectUnix(path, signal);
  if (owner !== undefined && uid !== owner && !isOurs(uid)) {
    socket.destroy();
    throw new Untrusted(`it is user ${owner}'s, and user ${uid} answers`);
  }
  return { socket, owner: owner ?? (isOurs(uid) ? undefined : uid) };
}

/** The user besides root and this process's own who can change where a path leads. */
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
        throw new Untrusted(`users ${owner} and ${uid} have a say in where it leads`);
      owner = uid;
    }
    if (!isLink) {
      // In a sticky one (/tmp) names belong to those who have made them.
      if ((mode & WRITABLE_FOR_ALL) !== 0 && (mode & STICKY) === 0 && parts.length > 0)
        throw new Untrusted(`everybody may write into ${next}`);
      at = next;
      continue;
    }
    if (owner !== undefined) throw new Untrusted(`${next} is a link, of which a user has a say`);
    if (++links > LINKS_FOLLOWED) throw new Untrusted('it leads through too many links');
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
