package usage_test

import (
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

func BenchmarkAppendRecord(b *testing.B) {
	r := usage.Record{UID: usage.NewUID(time.Now()), Time: time.Now(), ID: "req_0123456789abcdefghjkmnpq", Tenant: "acme", Key: "backend", Endpoint: "chat",
		Asked: "chat", Model: "chat", Provider: "openai", Served: "gpt-4o-mini", Outcome: "ok", Finish: "stop", Status: 200,
		Usage: wire.Usage{Prompt: 1200, Completion: 300}, Cost: 123456, Total: time.Second, First: time.Millisecond * 300,
		Attempts: []usage.Attempt{{Kind: "first", Provider: "openai", Model: "gpt-4o-mini", Result: "ok", Usage: wire.Usage{Prompt: rand.Int64N(5000)}}}}
	buf := r.AppendTo(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendTo(buf[:0])
	}
}
