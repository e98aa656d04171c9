import { VERSIONS } from '../../../src/container/redirects/maps.ts';
import { ElementReading } from '../../../src/container/redirects/reading.ts';
import { listOf, RedirectSet } from '../../../src/container/redirects/set.ts';
import { messageAt, NLMSG_HDRLEN, nfgenmsg } from '../../../src/netlink/index.ts';
import { runNow } from '../../../src/netlink/operation.ts';
import { Transaction } from '../../../src/nftables/index.ts';
import { readPacked } from '../../../src/nftables/packed-elements.ts';
import { amidst, canonical, type Target } from './judge.ts';
import { mutated } from './mutate.ts';

const { messages, bytes } = new RedirectSet([
  { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 },
  { protocol: 'udp', address: '10.10.0.101', port: 53 },
  { protocol: 'sctp', address: '2001:db8::1', port: 80, toPort: 8080 },
])
  .addAll(new Transaction())
  .encode();
const SEEDS = [0, 1].map(index => bytes.slice(messages.at(index)!.start, messages.at(index)!.end));

/** Elements of a map of redirects, which any root of a container can fill with what it likes. */
export const redirectElements: Target = {
  name: 'elements of redirects',
  weight: 1,
  seeds: SEEDS,
  make: (random, pool) => mutated(random.pick(pool), random, pool),
  read(input) {
    amidst(input, (source, start, end) => {
      const elements = new ElementReading();
      if (end - start < NLMSG_HDRLEN + nfgenmsg.size) return '';
      for (const version of VERSIONS)
        readPacked(messageAt(source, start, end), elements.exact(version, elements.ports[version.map]));
      const redirects = runNow(listOf(elements));
      new RedirectSet(
        redirects.filter(({ address }, i) => redirects.findIndex(each => each.address === address) === i),
      );
      return canonical(redirects);
    });
  },
};
