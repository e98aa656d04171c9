import { createRequire } from 'node:module';
import { NetNs } from 'netsteer';
import {
  beginMessage,
  endMessage,
  NETLINK_NETFILTER,
  NetlinkSocket,
  NFNL_SUBSYS_NFTABLES,
  NLM_F_ACK,
  NLM_F_REQUEST,
  nfnetlinkType,
  Writer,
  writeHeader,
} from 'netsteer/netlink';
import { BACKENDS, type Ffi, type FfiName } from '../src/ffi/index.ts';
import { compare, type Program, type Result, timed, timedEach, timedLoop } from './harness.ts';
import { leaving } from './off-thread.ts';
import { compiled, missing, timedFloor, type Warm, writeDatagrams } from './programs.ts';

/** The floor's: `compare` runs one round that does not count. */
const WARM: Warm = { rounds: 1, where: 'here' };
/** NFT_MSG_GETGEN: the smallest question with an answer. */
const GETGEN = 16;
/** A descriptor that nobody has: the kernel refuses it. */
const NOT_OPEN = 0x7fffffff;

/** What leaving JavaScript costs: a call that does nothing, a request to the kernel and its answer, a call on another thread. */
export async function ffi(quick: boolean): Promise<Result[]> {
  const count = quick ? 20_000 : 200_000;
  const rounds = quick ? 3 : 9;
  const calls = await compare('null-call', nullCalls(count), { operations: count, rounds });
  const buffers = await compare('buffer-call', bufferCalls(count / 10), {
    operations: count / 10,
    rounds,
  });
  const requests = await requestPrograms(count / 10);
  const { away, close } = requests;
  try {
    return [
      ...calls,
      ...buffers,
      ...(await compare('call-off-thread', callsAway(count / 100), { operations: count / 100, rounds })),
      ...(await compare('request', requests.programs, { operations: count / 10, rounds })),
      ...(await compare('off-thread', away(count / 100), { operations: count / 100, rounds })),
      ...(await leaving(quick)),
    ];
  } finally {
    close();
  }
}

function nullCalls(count: number): Program[] {
  const c = (createRequire(import.meta.url)('koffi') as typeof import('koffi')).load(null);
  const getppid = c.func('int getppid()');
  return [
    // Refused by the kernel at once: with the errno, as every call of the library has it.
    ...backends().map(backend => ({
      name: programName(backend),
      run: () => timedLoop(count, () => backend.close(-1)),
    })),
    { name: 'koffi', run: () => timedLoop(count, () => getppid()) },
    { name: 'node', run: () => timedLoop(count, () => process.ppid) },
  ];
}

/** The default is the library as it is; the others are named. */
const programName = ({ name }: Ffi): string => (name.startsWith('koffi') ? 'netsteer' : `netsteer by ${name}`);

/** A call with a buffer, which some copy or wrap: refused at once, too. */
function bufferCalls(count: number): Program[] {
  const bytes = new Uint8Array(512);
  return backends().map(backend => ({
    name: programName(backend),
    run: () => timedLoop(count, () => backend.send(-1, bytes, bytes.length, 0)),
  }));
}

/** The same, away from the thread, one by one: what a thread costs by koffi's own pool and by Node's. */
function callsAway(count: number): Program[] {
  const bytes = new Uint8Array(512);
  return backends().map(backend => ({
    name: programName(backend),
    run: () => timedEach(count, () => backend.sendOffThread(NOT_OPEN, bytes, bytes.length, 0)),
  }));
}

/** Those that are installed; what is missing is said. */
function backends(): Ffi[] {
  return (Object.keys(BACKENDS) as FfiName[]).flatMap(name => {
    try {
      return [BACKENDS[name]()];
    } catch (error) {
      missing(name, (error as Error).message);
      return [];
    }
  });
}

async function requestPrograms(count: number) {
  const netns = NetNs.create();
  const socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
  const writer = new Writer();
  const start = beginMessage(writer, nfnetlinkType(NFNL_SUBSYS_NFTABLES, GETGEN), NLM_F_REQUEST | NLM_F_ACK, 1);
  writeHeader(writer, 0, 0);
  endMessage(writer, start);
  const bytes = writer.copy();
  const into = new Uint8Array(4096);
  const request = () => {
    socket.send(bytes, bytes.length);
    // The answer, and the acknowledgement.
    socket.receive(into);
    socket.receive(into);
  };
  const programs: Program[] = [{ name: 'netsteer', run: () => timedEach(count, request) }];
  const floor = compiled('floor-netlink');
  if (floor !== undefined) {
    const file = writeDatagrams('getgen', new Array(count).fill(bytes));
    programs.push({ name: 'floor', run: () => timedFloor(floor, NETLINK_NETFILTER, file, netns, WARM) });
  }
  const sendAway = async () => {
    await socket.sendOffThread(bytes, bytes.length);
    socket.receive(into);
    socket.receive(into);
  };
  const away = (number: number): Program[] => [
    { name: 'netsteer', run: () => timedEach(number, sendAway) },
    {
      name: 'netsteer, 16 at a time',
      run: () =>
        timed(async () => {
          for (let i = 0; i < number; i += 16) await Promise.all(Array.from({ length: 16 }, sendAway));
        }),
    },
  ];
  const close = () => {
    void socket.close();
    netns.close();
  };
  return { programs, away, close };
}
