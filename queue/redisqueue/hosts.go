package redisqueue

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/rexgate/rexgate/queue"
)

// Fields of a host in own, and in ses, as lua/common.lua has them.
const (
	oIncarnation, oRevoked, oDeleted, oDuplicate, oEpoch, oActive, oGateway, oTransport = 1, 2, 3, 4, 5, 6, 7, 8
	oDue, oN, oBase, oSent, oCancelMessage, oSlots, oFlying, oUntil                     = 9, 10, 11, 12, 13, 14, 15, 16

	eSince, eGeneration, eNonce, eBoot, eAgent, ePast = 1, 2, 3, 4, 5, 6
)

// Fields of a host in hosts.
const (
	hEnrolled, hKey, hLabels, hToken, hIncarnation, hRevoked = 1, 2, 3, 4, 5, 6
)

func noHost(id queue.HostID) error { return queue.Errorf(queue.NotFound, "no host %s", id) }

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Enroll registers a host. A bounded token's use is taken before, and given back if it
// comes to nothing.
func (s *Store) Enroll(ctx context.Context, e queue.Enrollment) (queue.Host, error) {
	if err := s.enter(); err != nil {
		return queue.Host{}, err
	}
	defer s.leave()
	if err := e.Validate(); err != nil {
		return queue.Host{}, err
	}
	p := partition(e.Host)
	keys := []string{s.k.queue(p, e.Host), s.k.part(p, "hosts"), s.k.part(p, "ver"), s.k.part(p, "facts"), s.k.part(p, "drain"), s.k.part(p, "ses")}
	replace, token := "0", ""
	if e.Replace {
		replace = "1"
	}
	if e.Token != "" {
		token = digest(e.Token)
	}
	var labels packer
	labels.strMap(e.Labels)
	run := func(mode string) (row, error) {
		v, err := s.runPart(ctx, s.sc.enroll, p, keys, string(e.Host), string(e.PublicKey), token, replace, labels.String(), mode)
		if err != nil {
			return nil, about("host "+string(e.Host), err)
		}
		return v.([]any), nil
	}
	giveBack := func() {}
	if e.Token != "" && e.Uses > 0 {
		r, err := run("check")
		if err != nil {
			return queue.Host{}, err
		}
		if r.str(1) == "repeat" {
			return s.host(ctx, e.Host)
		}
		if giveBack, err = s.useToken(ctx, &e, token); err != nil {
			return queue.Host{}, err
		}
	}
	r, err := run("apply")
	if err != nil {
		if queue.CodeOf(err) != queue.Unavailable {
			giveBack()
		}
		return queue.Host{}, err
	}
	s.hinter.send(r.row(2))
	return s.host(ctx, e.Host)
}

// useToken takes one of a token's uses, unless this host and key had one.
func (s *Store) useToken(ctx context.Context, e *queue.Enrollment, token string) (giveBack func(), err error) {
	keys := []string{s.k.prefix + "tok:" + token}
	pair := digest(string(e.Host), string(e.PublicKey))
	v, err := s.run(ctx, s.sc.token, keys, s.offset(), pair, e.Uses, micros(e.Expires), "take")
	if err != nil {
		return nil, err
	}
	switch v.(string) {
	case "used":
		return nil, queue.Errorf(queue.Forbidden, "host %s: the enrolment token is used up (%d of %d)", e.Host, e.Uses, e.Uses)
	case "again":
		return func() {}, nil
	}
	return func() {
		// If this fails the use is lost, and the host's next try has it.
		_, _ = s.run(ctx, s.sc.token, keys, s.offset(), pair, e.Uses, micros(e.Expires), "give")
	}, nil
}

// Host gives a host with its presence.
func (s *Store) Host(ctx context.Context, id queue.HostID) (queue.Host, error) {
	if err := s.enter(); err != nil {
		return queue.Host{}, err
	}
	defer s.leave()
	return s.host(ctx, id)
}

func (s *Store) host(ctx context.Context, id queue.HostID) (queue.Host, error) {
	hosts, err := s.readHosts(ctx, []queue.HostID{id})
	if err != nil {
		return queue.Host{}, err
	}
	if hosts[0] == nil {
		return queue.Host{}, noHost(id)
	}
	return *hosts[0], nil
}

// readHosts reads hosts with their presence; nil where there is none.
func (s *Store) readHosts(ctx context.Context, ids []queue.HostID) ([]*queue.Host, error) {
	var calls [Partitions]*call
	var places [Partitions][]int
	var list []*call
	for i, id := range ids {
		p := partition(id)
		if calls[p] == nil {
			keys := []string{s.k.part(p, "own"), s.k.part(p, "hosts"), s.k.part(p, "facts"), s.k.part(p, "ses"), s.k.part(p, "gw")}
			calls[p] = &call{sc: s.sc.hosts, keys: keys, args: []any{s.offset()}}
			list = append(list, calls[p])
		}
		calls[p].args = append(calls[p].args, string(id))
		places[p] = append(places[p], i)
	}
	if err := s.runAll(ctx, list); err != nil {
		return nil, err
	}
	hosts := make([]*queue.Host, len(ids))
	for p, c := range calls {
		if c == nil {
			continue
		}
		r := row(c.val.([]any))
		now, gateways := r.int(1), pairs(r.row(2))
		for n, i := range places[p] {
			own, record, facts, session := r.str(3+4*n), r.str(4+4*n), r.str(5+4*n), r.str(6+4*n)
			if own == "" || record == "" {
				continue
			}
			h, err := decodeHost(ids[i], own, record, facts, session, now, gateways)
			if err != nil {
				return nil, failed("host "+string(ids[i]), err)
			}
			hosts[i] = h
		}
	}
	return hosts, nil
}

func decodeHost(id queue.HostID, own, record, facts, session string, now int64, gateways map[string]int64) (*queue.Host, error) {
	o, err := unpackFields(own)
	if err != nil {
		return nil, err
	}
	r, err := unpackRow(record)
	if err != nil {
		return nil, err
	}
	var e row // none before its first session
	if session != "" {
		if e, err = unpackFields(session); err != nil {
			return nil, err
		}
	}
	h := &queue.Host{ID: id, Incarnation: o.int(oIncarnation), Labels: r.strMap(hLabels), Revoked: o.int(oRevoked) == 1,
		EnrolledAt: moment(r.int(hEnrolled)), Presence: presence(o, e, now, gateways)}
	if key := r.str(hKey); key != "" {
		h.PublicKey = ed25519.PublicKey(key)
	}
	if facts != "" {
		if err := json.Unmarshal([]byte(facts), &h.Facts); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// presence tells from a host's session and the gateways' lives whether it is
// online, and since when.
func presence(o, e row, now int64, gateways map[string]int64) queue.Presence {
	p := queue.Presence{Transport: queue.Transport(o.str(oTransport)), Gateway: o.str(oGateway), Session: o.int(oEpoch),
		Since: moment(e.int(eSince)), AgentVersion: e.str(eAgent), BootID: e.str(eBoot), Generation: e.str(eGeneration),
		DuplicateSince: moment(o.int(oDuplicate))}
	for lane, n := range o.dict(oSlots) {
		if p.Slots == nil {
			p.Slots = make(map[queue.Lane]int)
		}
		v, _ := n.(int64)
		p.Slots[laneOf(lane)] = int(v)
	}
	if o.int(oActive) != 1 {
		return p
	}
	until := o.int(oDue)
	if p.Transport == queue.TransportSocket {
		until = gateways[p.Gateway]
	} else {
		p.Due = moment(until)
	}
	p.Online = until > now
	if !p.Online && until > e.int(eSince) {
		p.Since = moment(until)
	}
	return p
}

// pairs reads what HGETALL gives inside of a script.
func pairs(r row) map[string]int64 {
	m := make(map[string]int64)
	for i := 1; i < len(r); i += 2 {
		m[r.str(i)] = parseMicros(r.str(i + 1))
	}
	return m
}

// Label changes labels. It writes only over what it has read, and else begins
// again.
func (s *Store) Label(ctx context.Context, id queue.HostID, patch queue.LabelPatch) (queue.Host, error) {
	if err := s.enter(); err != nil {
		return queue.Host{}, err
	}
	defer s.leave()
	if err := queue.ValidateLabels(patch.Set); err != nil {
		return queue.Host{}, err
	}
	p := partition(id)
	keys := []string{s.k.part(p, "hosts"), s.k.part(p, "ver")}
	for {
		old, err := s.rdb.HGet(ctx, keys[0], string(id)).Result()
		if isNil(err) {
			return queue.Host{}, noHost(id)
		}
		if err != nil {
			return queue.Host{}, failed("label", err)
		}
		r, err := unpackRow(old)
		if err != nil {
			return queue.Host{}, failed("label", err)
		}
		labels := r.strMap(hLabels)
		for _, k := range patch.Remove {
			delete(labels, k)
		}
		for k, v := range patch.Set {
			labels[k] = v
		}
		if err := queue.ValidateLabels(labels); err != nil {
			return queue.Host{}, err
		}
		var packed packer
		packed.strMap(labels)
		v, err := s.run(ctx, s.sc.label, keys, string(id), old, packed.String())
		if err != nil {
			return queue.Host{}, err
		}
		if v != nil {
			return s.host(ctx, id)
		}
	}
}

// Revoke bars a host.
func (s *Store) Revoke(ctx context.Context, id queue.HostID) error { return s.bar(ctx, id, "revoke") }

// DeleteHost removes a host. Its incarnation and session numbers are kept, so
// that none is used again.
func (s *Store) DeleteHost(ctx context.Context, id queue.HostID) error {
	return s.bar(ctx, id, "delete")
}

// ResolveDuplicate clears the duplicate mark, and ends the session.
func (s *Store) ResolveDuplicate(ctx context.Context, id queue.HostID) error {
	return s.bar(ctx, id, "resolve")
}

func (s *Store) bar(ctx context.Context, id queue.HostID, how string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	p := partition(id)
	keys := []string{s.k.queue(p, id), s.k.part(p, "hosts"), s.k.part(p, "ver"), s.k.part(p, "facts"), s.k.part(p, "drain"), s.k.part(p, "ses")}
	v, err := s.runPart(ctx, s.sc.bar, p, keys, string(id), how)
	if err != nil {
		return about("host "+string(id), err)
	}
	hints, _ := v.([]any)
	s.hinter.send(hints)
	return nil
}
