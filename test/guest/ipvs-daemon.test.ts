import { execFileSync } from 'node:child_process';
import { Ipvs, NetNs, NetNsError, UnsupportedError } from 'netsteer';
import type { SyncDaemon } from 'netsteer/ipvs';
import { Links } from 'netsteer/rtnetlink';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { freshIpvsNamespaces, ipvs, ipvsadm, netns } from '../support/ipvs-namespace.ts';
import { kernelSuite, where } from '../support/where.ts';

kernelSuite('sync daemons and settings of IPVS', () => {
  const listed = () => ipvsadm(netns, ['-Ln', '--daemon']).trimEnd().split('\n');
  freshIpvsNamespaces();

  beforeEach(() => {
    using links = Links.open({ netns });
    links.sync.createDummy({ name: 'dummy0' });
    links.sync.set('dummy0', { up: true });
    links.sync.addAddress('dummy0', '10.7.0.1/24');
  });
  afterEach(() => {
    for (const { state } of ipvs.sync.syncDaemons()) ipvs.sync.stopSync(state);
  });

  it('start daemons with the options that were given', async () => {
    const master: SyncDaemon = {
      state: 'master',
      interface: 'dummy0',
      syncId: 9,
      maxLength: 1400,
      group: '224.0.0.99',
      port: 9000,
      ttl: 4,
    };
    const backup: SyncDaemon = { ...master, state: 'backup', syncId: 255, port: 9001 };
    await ipvs.startSync(master);
    await ipvs.startSync(backup);
    expect(await ipvs.syncDaemons()).toEqual([master, backup]);
    expect(listed()).toEqual([
      'master sync daemon (mcast=dummy0, syncid=9, maxlen=1400, group=224.0.0.99, port=9000, ttl=4)',
      'backup sync daemon (mcast=dummy0, syncid=255, maxlen=1400, group=224.0.0.99, port=9001, ttl=4)',
    ]);
    await ipvs.stopSync('master');
    expect(await ipvs.syncDaemons()).toEqual([backup]);
  });

  it('start daemons with the defaults of the kernel', async () => {
    await ipvs.startSync({ state: 'backup', interface: 'dummy0', syncId: 0 });
    expect(await ipvs.syncDaemons()).toEqual([
      { state: 'backup', interface: 'dummy0', syncId: 0, maxLength: 1472, group: '224.0.0.81', port: 8848, ttl: 1 },
    ]);
    expect(listed()).toEqual([
      'backup sync daemon (mcast=dummy0, syncid=0, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)',
    ]);
  });

  it('start a daemon with an IPv6 group', async () => {
    await ipvs.startSync({ state: 'backup', interface: 'dummy0', syncId: 3, group: 'ff02::81' });
    expect(await ipvs.syncDaemons()).toMatchObject([{ group: 'ff02::81', port: 8848 }]);
    expect(listed()[0]).toContain('group=ff02::81');
  });

  it('list daemons with the options that ipvsadm started them with', () => {
    const options = [
      '--start-daemon',
      'backup',
      '--mcast-interface',
      'dummy0',
      '--syncid',
      '4',
      '--mcast-port',
      '1234',
    ];
    ipvsadm(netns, options);
    expect(ipvs.sync.syncDaemons()).toMatchObject([{ state: 'backup', syncId: 4, port: 1234 }]);
  });

  it('read and write settings in the namespace of the handle, and reject a closed handle with ERR_CLOSED', async () => {
    const home = NetNs.home().sysctl.get('net.ipv4.vs.conntrack');
    using copy = NetNs.create();
    const own = Ipvs.open({ netns: copy });
    const witness = (name: string) => copy.sysctl.get(`net.ipv4.vs.${name}`);
    own.settings.conntrack = true;
    own.settings.set('drop_entry', 1);
    own.settings.sync_threshold = '2 10';
    expect([witness('conntrack'), witness('drop_entry'), witness('sync_threshold')]).toEqual(['1', '1', '2\t10']);
    expect(own.settings.conntrack).toBe(true);
    expect(own.settings.get('sync_threshold')).toBe('2 10');
    expect(NetNs.home().sysctl.get('net.ipv4.vs.conntrack')).toBe(home);
    expect(ipvs.settings.conntrack).toBe(false);

    // The handle's socket keeps the namespace when everyone else has let go.
    copy.close();
    expect(own.settings.drop_entry).toBe(1);
    const table = [];
    for await (const connection of own.connections()) table.push(connection);
    expect(table).toEqual([]);
    await own[Symbol.asyncDispose]();
    expect(() => own.settings.conntrack).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    expect(() => own.connections()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  it('list every setting that the kernel has', () => {
    const names = netns.run(() =>
      execFileSync('ls', ['/proc/sys/net/ipv4/vs'], { encoding: 'utf8' }).trim().split('\n'),
    );
    const list = ipvs.settings.list();
    expect(list.map(({ name }) => name)).toEqual(names.sort());
    expect(list.every(({ writable }) => writable)).toBe(true);
    for (const { name, value } of list) expect(ipvs.settings.get(name)).toBe(value);
  });

  it('report a setting that the kernel lacks or refuses to write', () => {
    const get = () => ipvs.settings.est_nice;
    if (where === '6.1') expect(get).toThrow(UnsupportedError);
    else expect(get()).toBe(0);
    expect(() => ipvs.settings.set('conn_max', 5)).toThrow(expect.objectContaining({ minimumKernel: '7.1' }));
    expect(() => ipvs.settings.set('sync_ports', 3)).toThrow(
      expect.objectContaining({ code: 'EINVAL', hint: 'the kernel takes 1 to 64' }),
    );
    expect(() => ipvs.settings.set('sync_threshold', '50 3')).toThrow(NetNsError);
  });

  it('report settings that a user namespace hides or makes read-only', async () => {
    // Its first process waits until its input ends.
    const { spawn } = await import('node:child_process');
    const child = spawn('unshare', ['-Urn', 'sh', '-c', 'echo ready; cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      await new Promise(resolve => child.stdout.once('data', resolve));
      using owned = NetNs.open({ pid: child.pid! });
      await using theirs = Ipvs.open({ netns: owned });
      if (where === '6.1') {
        expect(theirs.settings.list()).toEqual([]);
        expect(() => theirs.settings.conntrack).toThrow('before Linux 6.11 the settings are hidden');
        return;
      }
      const readOnly = theirs.settings.list().filter(({ writable }) => !writable);
      expect(readOnly.every(({ inUserNamespace }) => inUserNamespace === 'read-only')).toBe(true);
      expect(readOnly.map(({ name }) => name)).toEqual([
        'est_cpulist',
        'est_nice',
        'run_estimation',
        'sync_qlen_max',
        'sync_sock_size',
      ]);
      theirs.settings.expire_nodest_conn = true;
      expect(theirs.settings.expire_nodest_conn).toBe(true);
      expect(() => theirs.settings.set('run_estimation', false)).toThrow(
        expect.objectContaining({ code: 'EACCES', hint: expect.stringContaining('user namespace owns') }),
      );
      expect(() => theirs.settings.lblc_expiration).toThrow(UnsupportedError);
    } finally {
      child.stdin.end();
    }
  });
});
