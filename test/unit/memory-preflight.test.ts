import { afterEach, describe, expect, test } from 'vitest';
import { Conntrack } from '../../src/conntrack/index.ts';
import { MemoryKernel, type MemoryKernelOptions } from '../../src/testing/index.ts';

/* What `preflight()` says of a kernel in memory is about that kernel, whatever this machine has, and it is what the kernel then does. */

const kernels: MemoryKernel[] = [];
afterEach(() => Promise.all(kernels.splice(0).map(each => each.close())));

function container(options: MemoryKernelOptions, userNamespace = false) {
  const kernel = MemoryKernel.create(options);
  kernels.push(kernel);
  return { kernel, web: kernel.container('web', { userNamespace, links: [{ name: 'eth0' }] }) };
}
async function failing(web: ReturnType<typeof container>['web']) {
  const { ok, abilities } = await web.preflight();
  const failed = abilities.filter(({ works }) => !works);
  expect(ok).toBe(failed.length === 0);
  return failed.map(({ name, reason, why, remedy }) => [name, reason, why, remedy]);
}
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'works',
    (error: { code: string }) => error.code,
  );

describe('preflight of a kernel in memory', () => {
  test('finds that everything works, of any release', async () => {
    for (const release of ['6.1', '6.12', '6.18']) expect(await failing(container({ release }).web)).toEqual([]);
    expect(await failing(container({}).web)).toEqual([]);
  });

  test('names the modules that are missing, and the call that makes a kernel with them', async () => {
    const { web } = container({ modules: ['nf_tables', 'nft_log', 'nft_redir'] });
    const made = (name: string) => `MemoryKernel.create({ modules: ['nf_tables', 'nft_log', 'nft_redir', '${name}'] })`;
    const missing = (ability: string, name: string) => [ability, 'module', `this kernel has no ${name}`, made(name)];
    expect(await failing(web)).toEqual([
      missing('ipvs', 'ip_vs'),
      missing('redirect', 'nft_chain_nat'),
      missing('nflog', 'nfnetlink_log'),
      missing('conntrack', 'nf_conntrack_netlink'),
    ]);
    const chain = (type: string) =>
      code(web.nftables.apply(`table ip ${type} {\n chain c {\n type ${type} hook prerouting priority 0\n }\n }\n`));
    expect([await chain('filter'), await chain('nat')]).toEqual(['works', 'ENOENT']);
    expect(await code(web.ipvs.info())).toBe('ENOENT');
    using conntrack = Conntrack.open({ netns: web.netns });
    expect(() => conntrack.sync.statistics()).toThrow('its module nf_conntrack_netlink is not loaded');
    expect(() => web.nflog({ groups: [5] })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  test('names nf_tables itself, and what needs it', async () => {
    const { web, kernel } = container({ modules: ['ip_vs', 'ip_vs_rr'] });
    expect((await failing(web)).map(([name, reason]) => [name, reason])).toEqual([
      ['nftables', 'module'],
      ['redirect', 'base'],
      ['log', 'base'],
      ['nflog', 'module'],
      ['conntrack', 'module'],
    ]);
    expect([await code(web.nftables.tables()), await code(web.nftables.apply('add table ip t'))]).toEqual([
      'EINVAL',
      'EOPNOTSUPP',
    ]);
    await web.ipvs.addService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' });
    expect(kernel.text()).toBe('# web\n-A -t 10.0.0.1:80 -s rr\n');
    expect(container({ modules: [] }).kernel.text()).toBe('# web\n');
  });

  test('tells of an unprivileged container that IPVS works by socket options, which the text of the kernel shows too', async () => {
    const { web, kernel } = container({}, true);
    const { ok, abilities } = await web.preflight();
    expect(ok).toBe(true);
    expect(abilities.filter(({ why }) => why !== undefined)).toMatchObject([
      { name: 'ipvs', reason: 'user-namespace' },
    ]);
    await web.ipvs.addService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' });
    expect(kernel.text()).toBe('# web\n-A -t 10.0.0.1:80 -s rr\n');
  });

  test('is about a refusal that the test has asked for', async () => {
    const { web, kernel } = container({});
    kernel.fail({ operation: 'nftables.generation', errno: 'EPERM' });
    kernel.fail({ operation: 'ipvs.info', errno: 'ENOMEM' });
    expect((await failing(web)).map(([name, reason]) => [name, reason])).toEqual([
      ['ipvs', 'refused'],
      ['nftables', 'capability'],
      ['redirect', 'base'],
      ['log', 'base'],
    ]);
    expect(await failing(web)).toEqual([]);
  });
});
