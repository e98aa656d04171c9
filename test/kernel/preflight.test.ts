import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { NetNs } from 'netsteer';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Ability } from '../../src/container/index.ts';
import { preflight } from '../../src/container/preflight.ts';
import { Ipvs } from '../../src/ipvs/index.ts';
import { NETLINK_GENERIC } from '../../src/linux/netlink.ts';
import { scratchFolder } from '../support/bundle.ts';
import { CleanUps } from '../support/clean-ups.ts';
import { useFaultyFfi } from '../support/faulty-ffi.ts';
import { kernelSuite } from '../support/where.ts';

/*
 * What preflight says of kernels that this machine does not have: their files under /proc and /lib/modules are made up, the namespace and what
 * the kernel answers are real. test/guest/ipvs-module.test.ts has a kernel that has not loaded IPVS.
 */
const ffi = useFaultyFfi();
const { socket, send } = ffi;
const ENOMEM = -12;

const cleanUps = new CleanUps();
let netns: NetNs;
/** Of each socket that was opened. */
let protocols: number[];

beforeEach(() => {
  netns = NetNs.create();
  protocols = [];
  ffi.socket = (domain, type, protocol) => {
    protocols.push(protocol);
    return socket(domain, type, protocol);
  };
});
afterEach(() => {
  Object.assign(ffi, { socket, send });
  netns.close();
  return cleanUps.run();
});

const OTHERS = ['nf_tables', 'nft_chain_nat', 'nft_redir', 'nft_log', 'nfnetlink_log', 'nf_conntrack_netlink'];
const ALL = [...OTHERS, 'ip_vs'];

interface Machine {
  release?: string;
  loaded?: readonly string[];
  /** Undefined: there is no /lib/modules. */
  loadable?: readonly string[];
  modprobe?: string;
  disabled?: boolean;
}

/** What a machine with these modules says. */
async function abilities(machine: Machine, options: { load?: boolean } = {}): Promise<Record<string, Ability>> {
  const { release = '6.12.0-test', loaded = [], loadable, modprobe = '/sbin/modprobe', disabled = false } = machine;
  const root = scratchFolder(cleanUps);
  const files = {
    'proc/modules': loaded.map(name => `${name} 16384 0 - Live 0x0000000000000000\n`).join(''),
    'proc/sys/kernel/osrelease': `${release}\n`,
    'proc/sys/kernel/modprobe': `${modprobe}\n`,
    'proc/sys/kernel/modules_disabled': disabled ? '1\n' : '0\n',
    ...(loadable && {
      [`lib/modules/${release}/modules.dep`]: loadable.map(name => `kernel/net/${name}.ko.xz:\n`).join(''),
    }),
  };
  for (const [path, content] of Object.entries(files)) {
    fs.mkdirSync(dirname(join(root, path)), { recursive: true });
    fs.writeFileSync(join(root, path), content);
  }
  const { ok, abilities } = await preflight(netns, options, { root });
  expect(ok).toBe(abilities.every(({ works }) => works));
  return Object.fromEntries(abilities.map(ability => [ability.name, ability]));
}

kernelSuite('preflight', () => {
  it('reports for a kernel that is too old the first version that works', async () => {
    const { redirect, log } = await abilities({ release: '5.1.21', loaded: OTHERS, loadable: ALL });
    expect(redirect).toEqual({
      name: 'redirect',
      works: false,
      reason: 'kernel',
      why: 'Linux 5.2 has it, this is 5.1.21',
      remedy: 'boot Linux 5.2 or newer',
    });
    expect(log).toEqual({ name: 'log', works: true });
    for (const release of ['5.2.0', '5.10.1', '6.1.0-31-amd64'])
      expect((await abilities({ release, loaded: OTHERS, loadable: ALL })).redirect!.works).toBe(true);
  });

  it.each(['', '/bin/false', '/bin/true'])(
    'reports where kernel.modprobe is %j that nothing is loaded automatically',
    async modprobe => {
      const { ipvs, redirect, log } = await abilities({ loaded: ['nf_tables', 'nft_log'], loadable: ALL, modprobe });
      expect(redirect).toEqual({
        name: 'redirect',
        works: false,
        reason: 'sysctl',
        why: `nft_chain_nat, nft_redir is not loaded: the sysctl kernel.modprobe is ${JSON.stringify(modprobe)}, so the kernel loads no module by itself`,
        remedy: 'modprobe -a nft_chain_nat nft_redir',
      });
      expect(ipvs).toMatchObject({ works: false, reason: 'sysctl', remedy: 'modprobe -a ip_vs' });
      expect(log).toEqual({ name: 'log', works: true });
    },
  );

  it('reports where kernel.modules_disabled is set that only a reboot helps', async () => {
    const { nflog } = await abilities({ loaded: ['nf_tables'], loadable: ALL, disabled: true });
    expect(nflog).toEqual({
      name: 'nflog',
      works: false,
      reason: 'sysctl',
      why: 'nfnetlink_log is not loaded: the sysctl kernel.modules_disabled is 1, until the next boot',
      remedy: 'reboot',
    });
  });

  it('reports which modules are missing or not loaded, and what to do', async () => {
    const without = await abilities({ loaded: ['nf_tables'], loadable: ['nf_tables'] });
    expect(without.nflog).toMatchObject({
      works: false,
      reason: 'module',
      why: 'this kernel has no nfnetlink_log (CONFIG_NETFILTER_NETLINK_LOG)',
    });
    expect(without.conntrack).toMatchObject({
      works: false,
      reason: 'module',
      why: 'this kernel has no nf_conntrack_netlink (CONFIG_NF_CT_NETLINK)',
    });
    const elsewhere = await abilities({ loaded: ['nf_tables'] });
    expect(elsewhere.log).toMatchObject({ works: false, reason: 'module', remedy: 'modprobe -a nft_log' });
    expect(elsewhere.log!.why).toContain('this kernel has no /lib/modules here');
    const old = await abilities({ release: '5.15.0', loaded: OTHERS, loadable: ALL });
    expect(old.ipvs).toMatchObject({ works: false, reason: 'module', remedy: 'modprobe -a ip_vs' });
    expect(old.ipvs!.why).toContain('from 5.16 on');
  });

  it('asks for the family of IPVS only with `load` where its module is not loaded', async () => {
    const machine = { loaded: OTHERS, loadable: ALL };
    const { ipvs } = await abilities(machine);
    const why = 'ip_vs will be loaded by the first use';
    expect(ipvs).toEqual({ name: 'ipvs', works: true, reason: 'module', why, remedy: 'modprobe -a ip_vs' });
    expect(protocols).not.toContain(NETLINK_GENERIC);

    const asked = (await abilities(machine, { load: true })).ipvs!;
    expect(protocols).toContain(NETLINK_GENERIC);
    // What it says then is what the kernel that is really there has said.
    await using real = Ipvs.open({ netns });
    const works = await real.info().then(
      () => true,
      () => false,
    );
    expect(asked).toMatchObject(works ? { works } : { works, reason: 'module', remedy: 'modprobe ip_vs' });
  });

  it('asks for the family of IPVS where the module is loaded, which changes nothing', async () => {
    await abilities({ loaded: ALL, loadable: ALL });
    expect(protocols).toContain(NETLINK_GENERIC);
  });

  it('reports the error of the kernel where it refuses for another reason', async () => {
    ffi.send = () => ENOMEM;
    const { nftables, redirect } = await abilities({ loaded: OTHERS, loadable: ALL });
    expect(nftables).toMatchObject({ works: false, reason: 'refused', why: expect.stringContaining('ENOMEM') });
    expect(redirect).toMatchObject({ works: false, reason: 'base', why: 'needs nftables' });
  });
});
