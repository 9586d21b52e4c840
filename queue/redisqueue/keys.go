package redisqueue

import (
	"strconv"
	"strings"

	"github.com/rexgate/rexgate/queue"
)

// Partitions is how many partitions hosts are spread over. The store keeps the
// number; another one would look for hosts in the wrong places.
const Partitions = 128

// schema is the version of the layout in the package comment.
const schema = 2

// tags are the hash tags of the partitions: tag p is in the middle of the p-th
// of 128 equal ranges of the 16384 cluster slots, so that however many masters
// share the slots evenly, they share the partitions evenly.
const tags = `5n3 d5m 7me 3xc a2j 0i4 cu4 2jb 5js 92e bcu fvs 4xr 0mt cqt x3
dhn 530 3ah 70f 047 4e9 ex 6fo 9of 57p fox j7n 00w 4ay a8 kag
h8q 1j7 78o 3ia 4m0 0x6 6nf mq hx9 1nw brw fgq 4ip 81f kin i1
174 her 34b 7el ekm 403 0r 63e 13t 5bz n3j jbd 8le 44s 42 k4m
7lu 3ys hlk 975 k94 9k a3z ebt 7h5 f3k 5kc 93u 6z4 2o2 4yb 0ld
nc0 71v 9j6 h1h dh kd7 8x7 any 3d8 756 1gn 5rh 221 cio 01g aj9
su7 3hq h9a daw 6ov la afp 846 7y7 3l1 5za 1og 6k6 g0h ab0 09n
35r jg4 l5l hdb 1b 62u 8i5 i2k 312 bjl 12d 5cj gmk 665 0dm 45c`

// partKeys are the keys that every script of a partition takes first, in this
// order; see lua/common.lua.
func partKeys() []string {
	return []string{"d", "own", "lease", "expiry", "delayed", "ready"}
}

// keyspace makes key names.
type keyspace struct {
	prefix string
	parts  []string   // prefix of each partition's keys
	base   [][]string // partKeys of each partition
}

func newKeyspace(prefix string) *keyspace {
	k := &keyspace{prefix: prefix}
	for _, tag := range strings.Fields(tags) {
		part := prefix + "{" + tag + "}:"
		var base []string
		for _, name := range partKeys() {
			base = append(base, part+name)
		}
		k.parts = append(k.parts, part)
		k.base = append(k.base, base)
	}
	return k
}

// partition tells where all of a host is: FNV-1a, mixed so that every
// bit of the name counts in the ones that are used.
func partition(host queue.HostID) int {
	h := uint64(14695981039346656037)
	for i := 0; i < len(host); i++ {
		h = (h ^ uint64(host[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % Partitions)
}

func (k *keyspace) part(p int, name string) string { return k.parts[p] + name }

// with gives the keys of a partition's script: the common ones, then extra.
func (k *keyspace) with(p int, extra ...string) []string {
	return append(append(make([]string, 0, len(k.base[p])+len(extra)), k.base[p]...), extra...)
}

func (k *keyspace) queue(p int, h queue.HostID) string { return k.parts[p] + "q:" + string(h) }

func (k *keyspace) targets(p int, j queue.JobID) string { return k.parts[p] + "jt:" + string(j) }

func (k *keyspace) output(p int, h queue.HostID, j queue.JobID) string {
	return k.parts[p] + "o:" + string(h) + "/" + string(j)
}

// jobs names a key of those about all jobs, which share one slot.
func (k *keyspace) jobs(name string) string { return k.prefix + "{jobs}:" + name }

// job is the hash with a job's spec and script, in a slot of its own.
func (k *keyspace) job(id queue.JobID) string { return k.prefix + "job:{" + string(id) + "}" }

func (k *keyspace) channel(gateway string) string { return k.prefix + "hints:" + gateway }

// field is an execution's field in x, and its member in lease, expiry, delayed.
func field(h queue.HostID, j queue.JobID) string { return string(h) + "/" + string(j) }

// splitField is the inverse of field.
func splitField(f string) (queue.HostID, queue.JobID, bool) {
	i := strings.LastIndexByte(f, '/')
	if i < 0 {
		return "", "", false
	}
	return queue.HostID(f[:i]), queue.JobID(f[i+1:]), true
}

// shardSize is how many state bytes one field of d holds.
const shardSize = 128

func shardField(j queue.JobID, n int) string { return string(j) + ":" + strconv.Itoa(n) }

// laneKey is the lane's name inside of scripts: urgent sorts before all others.
func laneKey(l queue.Lane) string {
	if l == queue.LaneUrgent {
		return "!urgent"
	}
	return string(l)
}

func laneOf(key string) queue.Lane {
	if key == "!urgent" {
		return queue.LaneUrgent
	}
	return queue.Lane(key)
}
