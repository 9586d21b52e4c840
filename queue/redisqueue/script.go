package redisqueue

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

//go:embed lua/*.lua
var luaFiles embed.FS

const (
	inlineMax  = 512      // bytes of output, encoded, that stay in the record
	segmentMax = 64 << 10 // bytes of an output segment
	drainMax   = 500      // executions of its queue that one call ends for a re-enrolled host
)

// libraryPrefix begins the name of the library of functions; the digest of its text
// follows, so that gateways of two versions don't take each other's.
const libraryPrefix = "rexgate_"

// script is a function of the library.
type script struct{ name, function string }

// How a verb's file becomes a function.
const (
	plainVerb = iota // the body, with its own keys
	partVerb         // the body, after begin(): keys of the partition first
	busyVerb         // gives `one` and `needs` for every(): several hosts in one call
)

// scripts are all functions, by what they do, and the text of the library. They
// are functions rather than scripts (EVALSHA) since a function's text is run once, when it is loaded:
// to make the functions and tables of common.lua anew took 20 us of each call.
type scripts struct {
	library, text string

	claim, release, lease, record                           *script // busy
	expand, cancel, purge, tick, due, enroll, bar, drain    *script // of a partition
	verify, alive                                           *script
	label, hosts, check, queue, situations, prepare, erase  *script // plain, in a partition
	wipe, token                                             *script
	begin, commit, abort, intent, drive, close, ended, drop *script // about all jobs
	gone, repeated, reopen, orphan                          *script
	restore                                                 *script // plain, in a partition
}

func (s *scripts) kinds() [3]map[string]**script {
	return [3]map[string]**script{
		plainVerb: {"label": &s.label, "hosts": &s.hosts, "situations": &s.situations, "check": &s.check, "queue": &s.queue, "prepare": &s.prepare,
			"erase": &s.erase, "wipe": &s.wipe, "token": &s.token, "begin": &s.begin, "commit": &s.commit,
			"abort": &s.abort, "intent": &s.intent, "drive": &s.drive, "close": &s.close, "ended": &s.ended, "drop": &s.drop,
			"gone": &s.gone, "repeated": &s.repeated, "reopen": &s.reopen, "orphan": &s.orphan, "restore": &s.restore},
		partVerb: {"expand": &s.expand, "cancel": &s.cancel, "tick": &s.tick, "due": &s.due, "enroll": &s.enroll, "bar": &s.bar,
			"drain": &s.drain, "verify": &s.verify, "alive": &s.alive, "purge": &s.purge},
		busyVerb: {"claim": &s.claim, "release": &s.release, "lease": &s.lease, "record": &s.record},
	}
}

// loadScripts makes the library of lua/. Without quick, calls of the usual kind go the
// way of all others, which tests use to hold one against the other.
func loadScripts(quick bool) (*scripts, error) {
	var s scripts
	var b strings.Builder
	b.WriteString(luaConstants(quick))
	for _, f := range []string{"common", "host", "execution", "policy", "finish"} {
		text, err := luaFiles.ReadFile("lua/" + f + ".lua")
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	var names []string
	for kind, verbs := range s.kinds() {
		for name := range verbs {
			text, err := luaFiles.ReadFile("lua/" + name + ".lua")
			if err != nil {
				return nil, err
			}
			names = append(names, luaVerb(name, kind, string(text)))
		}
	}
	slices.Sort(names)
	text := foldConstants(b.String() + strings.Join(names, ""))
	sum := sha1.Sum([]byte(text))
	s.library = libraryPrefix + hex.EncodeToString(sum[:6])
	s.text = "#!lua name=" + s.library + "\n" + strings.ReplaceAll(text, libraryMark, s.library)
	for _, verbs := range s.kinds() {
		for name, at := range verbs {
			*at = &script{name: name, function: s.library + "_" + name}
		}
	}
	return &s, nil
}

var (
	constantLine = regexp.MustCompile(`(?m)^local ([A-Z_]+(?:, [A-Z_]+)*) = (\d+(?:, \d+)*)$`)
	constantName = regexp.MustCompile(`\b[A-Z][A-Z_]*\b`)
)

// libraryMark stands for the library's name until its digest is known.
const libraryMark = "LIBRARY"

// luaVerb makes a function of a verb's file. One without the flag no-writes Redis refuses
// before it starts, rather than in its middle, where writing isn't possible (out of memory, a
// replica, a failed disk).
func luaVerb(name string, kind int, text string) string {
	flags := ""
	if strings.Contains(text, "\n-- flags=no-writes\n") {
		flags = ", flags = { 'no-writes' }"
	}
	register := "redis.register_function{ function_name = '" + libraryMark + "_" + name + "'" + flags + ", callback = "
	switch kind {
	case busyVerb:
		return "do local one, needs, quick = (function()\n" + text + "end)()\n" +
			register + "function(keys, args) begin(keys, args) return every(one, needs, quick) end } end\n"
	case partVerb:
		return register + "function(keys, args) begin(keys, args)\n" + text + "end }\n"
	}
	return register + "function(KEYS, ARGV) enter()\n" + text + "end }\n"
}

// foldConstants puts the numbers that lines like "local STATE, IDX = 1, 2" name where the
// names stand: Lua knows no constants, and reads each by way of the function that it is in (5 to 8 % of a
// call's time). Such a name is in upper case, and no other word of the library is the same.
func foldConstants(text string) string {
	values := make(map[string]string)
	text = constantLine.ReplaceAllStringFunc(text, func(line string) string {
		m := constantLine.FindStringSubmatch(line)
		names, numbers := strings.Split(m[1], ", "), strings.Split(m[2], ", ")
		if len(names) != len(numbers) {
			return line
		}
		for i, name := range names {
			values[name] = numbers[i]
		}
		return ""
	})
	return constantName.ReplaceAllStringFunc(text, func(name string) string {
		if v, ok := values[name]; ok {
			return v
		}
		return name
	})
}

// luaConstants gives the functions what the domain fixes.
func luaConstants(quick bool) string {
	how := 0
	if quick {
		how = 1
	}
	return fmt.Sprintf("local SHARD, MAX_TICK, LEASE_TTL, INLINE_MAX, SEGMENT_MAX, DRAIN_MAX, MAX_COUNT, MAX_AHEAD, TRANSIT, QUICK = %d, %d, %d, %d, %d, %d, %d, %d, %d, %d\n"+
		"local WHY_EXPIRED, WHY_REENROLLED, WHY_VANISHED, WHY_SILENT = '%s', '%s', '%s', '%s'\n"+
		"local WHY_OFFLINE, WHY_UNSELECTED, WHY_SUPERSEDED = %s, %s, %s\n",
		shardSize, queue.MaxTick.Microseconds(), queue.DefaultLeaseTTL.Microseconds(), inlineMax, segmentMax, drainMax, int64(queue.MaxCount), queue.MaxAhead, queue.HelloTransit.Microseconds(), how,
		queue.WhyExpired, queue.WhyReenrolled, queue.WhyVanished, queue.WhySilent,
		luaText(queue.WhyOffline), luaText(queue.WhyUnselected), luaText(queue.WhySuperseded("")))
}

// luaText writes a text as Lua reads it.
func luaText(s string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(s) + "'"
}

// load puts the library on a master, which hands it on to its replicas, and
// removes those of other versions: a gateway of one that still runs puts its own back when it misses
// it.
func (s *scripts) load(ctx context.Context, node *redis.Client) error {
	libraries, err := node.FunctionList(ctx, redis.FunctionListQuery{LibraryNamePattern: libraryPrefix + "*"}).Result()
	if err != nil {
		return err
	}
	there := false
	for _, l := range libraries {
		there = there || l.Name == s.library
		if l.Name == s.library {
			continue
		}
		if err := node.FunctionDelete(ctx, l.Name).Err(); err != nil && !redis.HasErrorPrefix(err, "Library not found") {
			return err
		}
	}
	if there {
		return nil
	}
	return s.put(ctx, node)
}

// put puts the library on a master where it is missing.
func (s *scripts) put(ctx context.Context, node *redis.Client) error {
	err := node.FunctionLoad(ctx, s.text).Err()
	if err != nil && strings.Contains(err.Error(), "already exists") {
		return nil // another gateway was quicker
	}
	return err
}
