package usage_test

import (
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// fill gives every field of a struct a value of its own, so that one that is forgotten is noticed.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.UnixMicro(1.7e15 + *n).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.String:
		v.SetString("text 你好 " + time.Duration(*n).String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n) / 3)
	case reflect.Uint8:
		v.SetUint(uint64(*n) % 200)
	case reflect.Int64, reflect.Int:
		if v.Type() == reflect.TypeFor[time.Duration]() {
			v.SetInt(*n * int64(time.Microsecond))
			return
		}
		v.SetInt(*n * 7919)
	default:
		panic("no value for " + v.Type().String())
	}
}

func TestRecordsComeBack(t *testing.T) {
	var r usage.Record
	var f usage.Feedback
	var n int64
	fill(reflect.ValueOf(&r).Elem(), &n)
	fill(reflect.ValueOf(&f).Elem(), &n)
	for _, want := range []*usage.Record{&r, {Time: time.UnixMicro(0).UTC()}} {
		got, none, err := usage.Decode(want.AppendTo(nil))
		if err != nil || none != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\n%+v\n%+v", err, got, want)
		}
	}
	none, got, err := usage.Decode(f.AppendTo(nil))
	if err != nil || none != nil || !reflect.DeepEqual(got, &f) {
		t.Errorf("%v\n%+v\n%+v", err, got, f)
	}
	whole := r.AppendTo(nil)
	for cut := range whole {
		if _, _, err := usage.Decode(whole[:cut]); err == nil {
			t.Fatalf("%d of %d bytes are no record", cut, len(whole))
		}
	}
	if _, _, err := usage.Decode(append(whole, 0)); err == nil {
		t.Error("a byte too many")
	}
}

// A spool may hold what an earlier version wrote, whose attempts did not say their entries.
func TestFirstRecordsAreRead(t *testing.T) {
	old, err := hex.DecodeString("720102030000000000000000000000000080e0da8ebf90a2060a7265715f310861636d65000000000000086368617400000000000000000000000000000000000000" +
		"0000000000000000000000000000000000000000000000000000000000009003020261040a66697273740a617a7572650667707400000e74696d656f7574d00f0000" +
		"00000000000000000000000000001066616c6c6261636b0c6f70656e6169106770742d6d696e6900046575046f6b000018d8040000000000000000000000000e")
	if err != nil {
		t.Fatal(err)
	}
	want := &usage.Record{UID: usage.UID{1, 2, 3}, Time: time.UnixMicro(1763900000000000).UTC(), ID: "req_1", Tenant: "acme", Model: "chat", Tags: []string{"a"}, Status: 200,
		Attempts: []usage.Attempt{{Kind: "first", Provider: "azure", Model: "gpt", Result: "timeout", Begun: time.Millisecond},
			{Kind: "fallback", Provider: "openai", Model: "gpt-mini", Region: "eu", Result: "ok", Usage: wire.Usage{Prompt: 12, Completion: 300}, Cost: 7}}}
	got, _, err := usage.Decode(old)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", err, got, want)
	}
	var batch usage.Batch
	newer := usage.Record{Attempts: []usage.Attempt{{Entry: "another"}, {Entry: "yet another"}}}
	if _, _, err := batch.Decode(newer.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	batch.Reset()
	if got, _, err = batch.Decode(old); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", err, got, want)
	}
}

// What a batch decodes is what was written, also in memory that had something else before.
func TestBatch(t *testing.T) {
	var full usage.Record
	var n int64
	fill(reflect.ValueOf(&full).Elem(), &n)
	empty := &usage.Record{Time: time.UnixMicro(0).UTC()}
	many := &usage.Record{Time: time.UnixMicro(0).UTC(), Attempts: make([]usage.Attempt, 300), Tags: []string{"a"}}
	var batch usage.Batch
	for round := range 3 {
		batch.Reset()
		var got, want []*usage.Record
		for i := range 700 {
			r := []*usage.Record{&full, empty, many}[(i+round)%3]
			read, _, err := batch.Decode(r.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			got, want = append(got, read), append(want, r)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatal("what was read is not what was written")
		}
	}
	f := usage.Feedback{UID: usage.UID{1}, Time: time.UnixMicro(1).UTC(), Comment: "good"}
	if none, read, err := batch.Decode(f.AppendTo(nil)); none != nil || err != nil || *read != f {
		t.Errorf("%+v, %v", read, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&usage.Record{Tags: []string{"a"}, Attempts: []usage.Attempt{{Kind: "first"}}}).AppendTo(nil))
	f.Add((&usage.Feedback{Score: 1}).AppendTo(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, fb, err := usage.Decode(data)
		switch {
		case err != nil && (r != nil || fb != nil), err == nil && (r == nil) == (fb == nil):
			t.Fatal(r, fb, err)
		case r != nil:
			if _, _, err := usage.Decode(r.AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestUIDsAreInOrder(t *testing.T) {
	now := time.UnixMilli(1763900000000)
	a, b := usage.NewUID(now), usage.NewUID(now.Add(time.Millisecond))
	if a.String() >= b.String() || len(a.String()) != 36 || a.String()[14] != '7' {
		t.Error(a, b)
	}
	seen := map[usage.UID]bool{}
	for range 100_000 {
		u := usage.NewUID(now)
		if seen[u] {
			t.Fatal("twice")
		}
		seen[u] = true
	}
}

// usualRecord is one as most are.
func usualRecord() *usage.Record {
	return &usage.Record{UID: usage.NewUID(time.Now()), Time: time.Now(), ID: "req_0123456789abcdefghjkmnpq", Tenant: "acme", Key: "backend", Endpoint: "chat",
		Asked: "chat", Model: "chat", Provider: "openai", Served: "gpt-4o-mini", Outcome: "ok", Finish: "stop", Status: 200,
		Usage: wire.Usage{Prompt: 1200, Completion: 300}, Cost: 123456, Total: time.Second, First: time.Millisecond * 300,
		Attempts: []usage.Attempt{{Kind: "first", Provider: "openai", Model: "gpt-4o-mini", Result: "ok", Usage: wire.Usage{Prompt: rand.Int64N(5000)}}}}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := usualRecord()
	buf := r.AppendTo(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendTo(buf[:0])
	}
}

// BenchmarkDecode reads a record as most are, alone and in a batch.
func BenchmarkDecode(b *testing.B) {
	r := usualRecord()
	data := r.AppendTo(nil)
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := usage.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("batch", func(b *testing.B) {
		var batch usage.Batch
		for n := 0; b.Loop(); n++ {
			if n%10_000 == 0 {
				batch.Reset()
			}
			if _, _, err := batch.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
