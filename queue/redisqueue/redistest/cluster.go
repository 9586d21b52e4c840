package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const slots = 16384

// Cluster is a Redis Cluster of masters without replicas.
type Cluster struct {
	Nodes []*Server
	URL   string // names all nodes

	t testing.TB
}

// StartCluster makes a cluster of n servers that share the slots evenly, and
// returns when all of them serve.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := &Cluster{t: t}
	var addrs []string
	for range n {
		bus := strconv.Itoa(freePort(t))
		s := Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "5000", "--cluster-port", bus)
		c.Nodes = append(c.Nodes, s)
		addrs = append(addrs, s.Addr)
		rdb := s.Client()
		from, to := (len(c.Nodes)-1)*slots/n, len(c.Nodes)*slots/n-1
		c.must(rdb.ClusterAddSlotsRange(ctx, from, to).Err())
		c.must(rdb.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", len(c.Nodes)).Err())
		if len(c.Nodes) > 1 {
			host, port, _ := strings.Cut(s.Addr, ":")
			first := c.Nodes[0].Client()
			c.must(first.Do(ctx, "CLUSTER", "MEET", host, port, bus).Err())
			c.must(first.Close())
		}
		c.must(rdb.Close())
	}
	c.URL = "redis://" + strings.Join(addrs, ",")
	c.await(ctx, func(rdb *redis.Client) bool {
		info, err := rdb.ClusterInfo(ctx).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", n)) &&
			strings.Contains(info, fmt.Sprintf("cluster_slots_ok:%d\r", slots))
	})
	return c
}

// Client makes a client of this server alone; the caller closes it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr})
}

// await asks every node again and again until all agree.
func (c *Cluster) await(ctx context.Context, ok func(*redis.Client) bool) {
	c.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, s := range c.Nodes {
		rdb := s.Client()
		for !ok(rdb) {
			select {
			case <-ctx.Done():
				c.t.Fatalf("cluster: node %s isn't as it should be in time", s.Addr)
			case <-tick.C:
			}
		}
		c.must(rdb.Close())
	}
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("cluster: %v", err)
	}
}

// Owner gives the index of the node that has the key's slot, and the slot.
func (c *Cluster) Owner(ctx context.Context, key string) (node, slot int) {
	c.t.Helper()
	rdb := c.Nodes[0].Client()
	defer rdb.Close()
	n, err := rdb.ClusterKeySlot(ctx, key).Result()
	c.must(err)
	shards, err := rdb.ClusterShards(ctx).Result()
	c.must(err)
	for _, shard := range shards {
		for _, r := range shard.Slots {
			if n < r.Start || n > r.End {
				continue
			}
			for i, s := range c.Nodes {
				if strings.HasSuffix(s.Addr, ":"+strconv.FormatInt(shard.Nodes[0].Port, 10)) {
					return i, int(n)
				}
			}
		}
	}
	c.t.Fatalf("cluster: nobody has slot %d", n)
	return 0, 0
}

// Migrate moves a slot to another node, as an operator's tool does, a few keys at
// a time; between the steps it calls during, if that isn't nil.
func (c *Cluster) Migrate(ctx context.Context, slot, from, to int, during func()) {
	c.t.Helper()
	source, target := c.Nodes[from].Client(), c.Nodes[to].Client()
	defer source.Close()
	defer target.Close()
	sourceID, err := source.ClusterMyID(ctx).Result()
	c.must(err)
	targetID, err := target.ClusterMyID(ctx).Result()
	c.must(err)
	c.must(target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID).Err())
	c.must(source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID).Err())
	host, port, _ := strings.Cut(c.Nodes[to].Addr, ":")
	for {
		keys, err := source.ClusterGetKeysInSlot(ctx, slot, 3).Result()
		c.must(err)
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
		for _, k := range keys {
			args = append(args, k)
		}
		c.must(source.Do(ctx, args...).Err())
		if during != nil {
			during()
		}
	}
	// The target first: it is to know before anyone is sent there.
	c.must(target.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID).Err())
	c.must(source.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID).Err())
	for i, s := range c.Nodes {
		if i != from && i != to {
			rdb := s.Client()
			c.must(rdb.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID).Err())
			c.must(rdb.Close())
		}
	}
}

// AddReplica gives a master a replica, and returns when it follows.
func (c *Cluster) AddReplica(ctx context.Context, node int) *Server {
	c.t.Helper()
	bus := strconv.Itoa(freePort(c.t))
	s := Start(c.t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "5000", "--cluster-port", bus,
		"--repl-diskless-sync-delay", "0")
	master, rdb := c.Nodes[node].Client(), s.Client()
	defer master.Close()
	defer rdb.Close()
	host, port, _ := strings.Cut(s.Addr, ":")
	c.must(master.Do(ctx, "CLUSTER", "MEET", host, port, bus).Err())
	id, err := master.ClusterMyID(ctx).Result()
	c.must(err)
	await(ctx, c.t, func() bool { return rdb.ClusterReplicate(ctx, id).Err() == nil }) // once they have met
	await(ctx, c.t, func() bool {
		info, err := rdb.InfoMap(ctx, "replication").Result()
		return err == nil && info["Replication"]["master_link_status"] == "up"
	})
	return s
}

// Replicated waits until a replica has all that its master was told so far.
func (c *Cluster) Replicated(ctx context.Context, node int, replica *Server) {
	c.t.Helper()
	await(ctx, c.t, func() bool { return caughtUp(ctx, c.Nodes[node], replica) })
}

// Lag has a replica take over without what its master acknowledged during fn, and returns when all nodes know. The
// master is killed, and stays away.
func (c *Cluster) Lag(ctx context.Context, node int, replica *Server, fn func()) {
	c.t.Helper()
	fallBehind(ctx, c.t, c.Nodes[node], replica, fn)
	rdb := replica.Client()
	defer rdb.Close()
	await(ctx, c.t, func() bool { return rdb.Do(ctx, "CLUSTER", "FAILOVER", "TAKEOVER").Err() == nil })
	c.Nodes[node] = replica
	id, err := rdb.ClusterMyID(ctx).Result()
	c.must(err)
	c.await(ctx, func(rdb *redis.Client) bool {
		info, err := rdb.ClusterInfo(ctx).Result()
		nodes, e := rdb.ClusterNodes(ctx).Result()
		if err != nil || e != nil || !strings.Contains(info, "cluster_state:ok") {
			return false
		}
		for line := range strings.Lines(nodes) {
			if f := strings.Fields(line); f[0] == id {
				return strings.Contains(f[2], "master") && len(f) > 8
			}
		}
		return false
	})
}
