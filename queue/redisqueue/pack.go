package redisqueue

import (
	"encoding/binary"
	"fmt"
	"math"
)

// packer writes MessagePack as Lua's cmsgpack reads it.
type packer struct{ b []byte }

func (p *packer) array(n int) *packer {
	if n < 16 {
		p.b = append(p.b, 0x90|byte(n))
	} else {
		p.b = binary.BigEndian.AppendUint32(append(p.b, 0xdd), uint32(n))
	}
	return p
}

func (p *packer) dict(n int) *packer {
	if n < 16 {
		p.b = append(p.b, 0x80|byte(n))
	} else {
		p.b = binary.BigEndian.AppendUint32(append(p.b, 0xdf), uint32(n))
	}
	return p
}

func (p *packer) int(v int64) *packer {
	if v >= 0 && v < 128 {
		p.b = append(p.b, byte(v))
	} else {
		p.b = binary.BigEndian.AppendUint64(append(p.b, 0xd3), uint64(v))
	}
	return p
}

func (p *packer) bool(v bool) *packer {
	if v {
		p.b = append(p.b, 0xc3)
	} else {
		p.b = append(p.b, 0xc2)
	}
	return p
}

func (p *packer) str(s string) *packer {
	switch n := len(s); {
	case n < 32:
		p.b = append(p.b, 0xa0|byte(n))
	case n < 1<<16:
		p.b = binary.BigEndian.AppendUint16(append(p.b, 0xda), uint16(n))
	default:
		p.b = binary.BigEndian.AppendUint32(append(p.b, 0xdb), uint32(n))
	}
	p.b = append(p.b, s...)
	return p
}

func (p *packer) strMap(m map[string]string) *packer {
	p.dict(len(m))
	for k, v := range m {
		p.str(k).str(v)
	}
	return p
}

func (p *packer) String() string { return string(p.b) }

// row is an unpacked array, read by index from 1 as in Lua. What is missing or of
// another type reads as zero.
type row []any

func (r row) at(i int) any {
	if i < 1 || i > len(r) {
		return nil
	}
	return r[i-1]
}

func (r row) int(i int) int64 {
	v, _ := r.at(i).(int64)
	return v
}

func (r row) str(i int) string {
	v, _ := r.at(i).(string)
	return v
}

func (r row) row(i int) row {
	v, _ := r.at(i).([]any)
	return v
}

func (r row) dict(i int) map[string]any {
	v, _ := r.at(i).(map[string]any)
	return v
}

func (r row) strMap(i int) map[string]string {
	m := make(map[string]string)
	for k, v := range r.dict(i) {
		m[k], _ = v.(string)
	}
	return m
}

// unpackRow reads an array.
func unpackRow(s string) (row, error) {
	u := unpacker{s: s}
	v := u.value(0)
	if u.err != nil {
		return nil, u.err
	}
	a, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("packed value of %d bytes isn't an array", len(s))
	}
	return a, nil
}

// unpackFields reads values that stand one after the other with no array around
// them, as records, hosts and jobs are kept.
func unpackFields(s string) (row, error) {
	u := unpacker{s: s}
	r := make(row, 0, 32)
	for u.i < len(s) {
		r = append(r, u.value(0))
		if u.err != nil {
			return nil, u.err
		}
	}
	return r, nil
}

type unpacker struct {
	s   string
	i   int
	err error
}

func (u *unpacker) take(n int) string {
	if u.err != nil || n < 0 || len(u.s)-u.i < n {
		if u.err == nil {
			u.err = fmt.Errorf("packed value is cut at byte %d", u.i)
		}
		return ""
	}
	u.i += n
	return u.s[u.i-n : u.i]
}

func (u *unpacker) uint(n int) uint64 {
	var v uint64
	for _, c := range []byte(u.take(n)) {
		v = v<<8 | uint64(c)
	}
	return v
}

// value gives nil, bool, int64, float64, string, []any or map[string]any.
func (u *unpacker) value(depth int) any {
	c := u.take(1)
	if u.err != nil {
		return nil
	}
	if depth > 8 {
		u.err = fmt.Errorf("packed value is nested too deeply")
		return nil
	}
	switch t := c[0]; {
	case t < 0x80:
		return int64(t)
	case t < 0x90:
		return u.dict(int(t&15), depth)
	case t < 0xa0:
		return u.array(int(t&15), depth)
	case t < 0xc0:
		return u.take(int(t & 31))
	case t >= 0xe0:
		return int64(int8(t))
	default:
		return u.tagged(t, depth)
	}
}

func (u *unpacker) tagged(t byte, depth int) any {
	switch t {
	case 0xc0:
		return nil
	case 0xc2, 0xc3:
		return t == 0xc3
	case 0xca:
		return float64(math.Float32frombits(uint32(u.uint(4))))
	case 0xcb:
		return math.Float64frombits(u.uint(8))
	case 0xcc, 0xcd, 0xce, 0xcf:
		return int64(u.uint(1 << (t - 0xcc)))
	case 0xd0:
		return int64(int8(u.uint(1)))
	case 0xd1:
		return int64(int16(u.uint(2)))
	case 0xd2:
		return int64(int32(u.uint(4)))
	case 0xd3:
		return int64(u.uint(8))
	case 0xd9:
		return u.take(int(u.uint(1)))
	case 0xda:
		return u.take(int(u.uint(2)))
	case 0xdb:
		return u.take(int(u.uint(4)))
	case 0xdc:
		return u.array(int(u.uint(2)), depth)
	case 0xdd:
		return u.array(int(u.uint(4)), depth)
	case 0xde:
		return u.dict(int(u.uint(2)), depth)
	case 0xdf:
		return u.dict(int(u.uint(4)), depth)
	}
	u.err = fmt.Errorf("packed value has an unknown type 0x%02x", t)
	return nil
}

func (u *unpacker) array(n, depth int) any {
	if n > len(u.s)-u.i {
		u.take(n)
		return nil
	}
	a := make([]any, 0, n)
	for range n {
		a = append(a, u.value(depth+1))
	}
	return a
}

func (u *unpacker) dict(n, depth int) any {
	if n > len(u.s)-u.i {
		u.take(n)
		return nil
	}
	m := make(map[string]any, n)
	for range n {
		k, _ := u.value(depth + 1).(string)
		m[k] = u.value(depth + 1)
	}
	return m
}
