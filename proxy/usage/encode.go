package usage

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
	"unsafe"

	"jarvis-gateway/proxy/wire"
)

// What the spool keeps begins with a byte that says what it is. A change of what follows takes a new one: a new version of the
// gateway ships what the one before has left behind.
const (
	kindFirstRecord = 'r' // whose attempts do not say their entries
	kindRecord      = 's'
	kindFeedback    = 'f'
)

// ErrEncoding is the error of bytes that are neither a record nor feedback.
var ErrEncoding = errors.New("not a usage record")

// coder goes through the fields of a record, in the one order that there is, to write or to read them: what is written can
// therefore be read.
type coder struct {
	buf     []byte // what was written
	all     string // what is read, of which texts are parts: one piece of memory for all of them
	at      int    // what is read next
	reading bool
	first   bool // kindFirstRecord
	bad     bool
	batch   *Batch // whose memory is taken; nil: new memory
}

// AppendTo appends the record's binary form. It allocates nothing but what dst must grow.
func (r *Record) AppendTo(dst []byte) []byte {
	c := coder{buf: append(dst, kindRecord)}
	r.code(&c)
	return c.buf
}

// AppendTo appends the binary form.
func (f *Feedback) AppendTo(dst []byte) []byte {
	c := coder{buf: append(dst, kindFeedback)}
	f.code(&c)
	return c.buf
}

// Decode reads what AppendTo wrote: exactly one of both is not nil, or there is an error, ErrEncoding. They share no memory with
// data.
func Decode(data []byte) (*Record, *Feedback, error) {
	return decode(string(data), nil)
}

func decode(data string, batch *Batch) (r *Record, f *Feedback, err error) {
	if len(data) == 0 {
		return nil, nil, ErrEncoding
	}
	c := coder{all: data, at: 1, reading: true, batch: batch}
	switch data[0] {
	case kindRecord, kindFirstRecord:
		c.first = data[0] == kindFirstRecord
		if batch == nil {
			r = new(Record)
		} else {
			r = &batch.records.take(1)[0]
		}
		r.code(&c)
	case kindFeedback:
		f = &Feedback{}
		f.code(&c)
	default:
		c.bad = true
	}
	if c.bad || c.at < len(data) {
		return nil, nil, ErrEncoding
	}
	return r, f, nil
}

func (r *Record) code(c *coder) {
	c.uid(&r.UID)
	c.time(&r.Time)
	c.texts(&r.ID, &r.Tenant, &r.Team, &r.Key, &r.User, &r.Scene, &r.Endpoint, &r.Asked, &r.Model, &r.Provider, &r.Served,
		&r.Replica, &r.Region, &r.Route, &r.Rollout, &r.Arm, &r.Cache, &r.Prompt, &r.Corpus, &r.Flow, &r.Price, &r.Outcome, &r.Code, &r.Finish,
		&r.Content.Asked, &r.Content.Answered)
	c.flags(&r.Stream, &r.Gone, &r.Interrupted)
	c.float(&r.Similarity)
	c.usage(&r.Usage)
	c.number((*int64)(&r.Cost), (*int64)(&r.Saved), &r.In, &r.Out)
	c.spans(&r.Queued, &r.First, &r.Upstream, &r.Overhead, &r.Total)
	status := int64(r.Status)
	c.number(&status)
	r.Status = int(status)
	var tags *slab[string]
	var attempts *slab[Attempt]
	if c.batch != nil {
		tags, attempts = &c.batch.tags, &c.batch.attempts
	}
	for i := range lengthen(c, &r.Tags, tags) {
		c.texts(&r.Tags[i])
	}
	for i := range lengthen(c, &r.Attempts, attempts) {
		r.Attempts[i].code(c)
	}
}

func (a *Attempt) code(c *coder) {
	c.texts(&a.Kind, &a.Provider, &a.Model, &a.Replica, &a.Region, &a.Result)
	if c.first {
		a.Entry = "" // the memory may be of another one
	} else {
		c.texts(&a.Entry)
	}
	c.spans(&a.Begun, &a.First)
	c.usage(&a.Usage)
	c.number((*int64)(&a.Cost))
}

func (f *Feedback) code(c *coder) {
	c.uid(&f.UID)
	c.time(&f.Time)
	c.uid(&f.Of)
	c.texts(&f.Request, &f.Tenant, &f.Key, &f.User, &f.Comment, &f.Metadata, &f.Model, &f.Prompt, &f.Rollout, &f.Arm)
	c.float(&f.Score)
}

func (c *coder) usage(u *wire.Usage) {
	c.number(&u.Prompt, &u.Completion, &u.CachedPrompt, &u.CacheWrite, &u.Reasoning, &u.Audio, &u.CacheWrite1h, &u.ImageIn, &u.AudioOut,
		&u.Images, &u.Millis, &u.Characters)
	tier := int64(u.Tier)
	c.number(&tier)
	if c.reading {
		u.Tier = wire.Tier(tier) //nolint:gosec // it was one
	}
	c.flags(&u.Estimated)
}

// take is what is read next; "" where there is not as much.
func (c *coder) take(n int) string {
	if uint(n) > uint(len(c.all)-c.at) { //nolint:gosec // what is below 0 is too much as well
		c.bad, c.at = true, len(c.all)
		return ""
	}
	c.at += n
	return c.all[c.at-n : c.at]
}

func (c *coder) uid(u *UID) {
	if !c.reading {
		c.buf = append(c.buf, u[:]...)
		return
	}
	copy(u[:], c.take(len(u)))
}

// texts codes strings. Here as below, what is written gathers in a variable of the loop's own: through c it takes half as long again.
func (c *coder) texts(list ...*string) {
	if c.reading {
		for _, s := range list {
			*s = c.take(int(c.read()))
		}
		return
	}
	buf := c.buf
	for _, s := range list {
		if *s == "" {
			buf = append(buf, 0)
		} else {
			buf = append(appendNumber(buf, int64(len(*s))), *s...)
		}
	}
	c.buf = buf
}

// number codes integers, which are mostly small and hardly ever below zero.
func (c *coder) number(list ...*int64) {
	if c.reading {
		for _, v := range list {
			*v = c.read()
		}
		return
	}
	buf := c.buf
	for _, v := range list {
		buf = appendNumber(buf, *v)
	}
	c.buf = buf
}

func (c *coder) read() int64 {
	if c.at < len(c.all) && c.all[c.at] < 0x80 {
		b := int64(c.all[c.at])
		c.at++
		return b>>1 ^ -(b & 1)
	}
	return c.readLong()
}

func (c *coder) readLong() int64 {
	rest := c.all[c.at:]
	v, n := binary.Varint(unsafe.Slice(unsafe.StringData(rest), len(rest)))
	if n <= 0 {
		n = -1
	}
	c.take(n)
	return v
}

// appendNumber is binary.AppendVarint, with little to do for the small numbers that most are.
func appendNumber(dst []byte, v int64) []byte {
	if u := uint64(v)<<1 ^ uint64(v>>63); u < 0x80 { //nolint:gosec // the bits of a zigzag
		return append(dst, byte(u))
	}
	return binary.AppendVarint(dst, v)
}

func (c *coder) spans(list ...*time.Duration) {
	if c.reading {
		for _, d := range list {
			*d = time.Duration(c.read()) * time.Microsecond
		}
		return
	}
	buf := c.buf
	for _, d := range list {
		buf = appendNumber(buf, d.Microseconds())
	}
	c.buf = buf
}

func (c *coder) time(t *time.Time) {
	us := t.UnixMicro()
	c.number(&us)
	if c.reading {
		*t = time.UnixMicro(us).UTC()
	}
}

func (c *coder) float(f *float64) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint64(c.buf, math.Float64bits(*f))
		return
	}
	if b := c.take(8); b != "" {
		*f = math.Float64frombits(binary.LittleEndian.Uint64([]byte(b)))
	}
}

func (c *coder) flags(list ...*bool) {
	var bits byte
	for i, b := range list {
		if *b {
			bits |= 1 << i
		}
	}
	if !c.reading {
		c.buf = append(c.buf, bits)
		return
	}
	if b := c.take(1); b != "" {
		bits = b[0]
	}
	for i, b := range list {
		*b = bits&(1<<i) != 0
	}
}

// lengthen codes how many there are, and makes room for them. Each takes a byte at least, so that no length can ask for more
// memory than there is data.
func lengthen[T any](c *coder, list *[]T, room *slab[T]) []T {
	n := int64(len(*list))
	c.number(&n)
	if !c.reading {
		return *list
	}
	if n < 0 || n > int64(len(c.all)-c.at) {
		c.take(-1)
		n = 0
	}
	*list = nil
	switch {
	case n > 0 && room != nil:
		*list = room.take(int(n))
	case n > 0:
		*list = make([]T, n)
	}
	return *list
}
