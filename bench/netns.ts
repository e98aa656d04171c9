import { spawnSync } from 'node:child_process';
import { NetNs } from 'netsteer';
import { NETLINK_NETFILTER, NetlinkSocket } from 'netsteer/netlink';
import { compare, type Program, type Result, timedEach, timedLoop } from './harness.ts';
import { versionOf } from './programs.ts';

/** Entering a namespace and coming home, with and without opening a socket there, and making one. */
export async function netns(quick: boolean): Promise<Result[]> {
  const count = quick ? 2_000 : 20_000;
  const rounds = quick ? 3 : 9;
  const inside = NetNs.create();
  try {
    const enter: Program[] = [{ name: 'netsteer', run: () => timedLoop(count, () => inside.run(() => 0)) }];
    const socket: Program[] = [
      {
        name: 'netsteer',
        run: async () => {
          const sockets: NetlinkSocket[] = [];
          const sample = timedLoop(count / 10, () => {
            sockets.push(new NetlinkSocket({ netns: inside, protocol: NETLINK_NETFILTER }));
          });
          await Promise.all(sockets.map(each => each.close()));
          return sample;
        },
      },
    ];
    return [
      ...(await compare('enter-leave', enter, { operations: count, rounds })),
      ...(await compare('enter-socket-leave', socket, { operations: count / 10, rounds })),
      ...(await compare('create', creators(quick ? 10 : 50), { operations: quick ? 10 : 50, rounds, rest: 200 })),
    ];
  } finally {
    inside.close();
  }
}

/** Namespaces are taken down by the kernel later on, one behind the other: few at a time. */
function creators(count: number): Program[] {
  const programs: Program[] = [
    {
      name: 'netsteer',
      run: async () => {
        const made: NetNs[] = [];
        const sample = await timedEach(count, () => made.push(NetNs.create()));
        for (const each of made) each.close();
        return sample;
      },
    },
  ];
  if (versionOf('unshare', '--version') !== undefined) {
    programs.push({ name: 'unshare -n', run: () => timedEach(count, () => spawnSync('unshare', ['-n', 'true'])) });
  }
  return programs;
}
