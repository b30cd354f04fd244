package wire

import (
	"reflect"
	"testing"
)

func TestFindTier(t *testing.T) {
	for answer, want := range map[string]Tier{
		`{"choices":[],"service_tier":"flex"}`:                                                               TierFlex,
		`{"service_tier" : "priority", "choices":[{"index":0}],"usage":{"x":"a}"}}`:                          TierPriority,
		`{"choices":[],"service_tier":"default"}`:                                                            TierStandard,
		`{"choices":[],"service_tier":"scale"}`:                                                              TierStandard,
		`{"choices":[],"service_tier":"batch"}`:                                                              TierBatch,
		`{"type":"message","usage":{"output_tokens":1,"service_tier":"batch"}}`:                              TierBatch,
		`{"choices":[],"service_tier":null}`:                                                                 TierUnsaid,
		`{"choices":[],"service_tier":"auto"}`:                                                               TierUnsaid,
		`{"choices":[],"service_tier":5}`:                                                                    TierUnsaid,
		`{"choices":[]}`:                                                                                     TierUnsaid,
		`{"choices":[{"message":{"content":"\"service_tier\":\"flex\""}}]}`:                                  TierUnsaid,
		`{"choices":[{"message":{"content":"service_tier"}}]}`:                                               TierUnsaid,
		`{"metadata":{"service_tier":"flex"}}`:                                                               TierUnsaid,
		`{"service_tier":"default","metadata":{"service_tier":"flex"}}`:                                      TierStandard,
		`{"metadata":{"service_tier":"flex"},"service_tier":"default"}`:                                      TierStandard,
		`{"type":"response.completed","response":{"service_tier":"flex","metadata":{}},"sequence_number":1}`: TierFlex,
		`{"type":"response.completed","response":{"metadata":{"service_tier":"flex"}}}`:                      TierUnsaid,
		`{"type":"message","usage":{"output_tokens":1,"service_tier":"priority"}}`:                           TierPriority,
		`{"type":"message_start","message":{"usage":{"service_tier":"standard"}}}`:                           TierStandard,
		`{"type":"message_start","message":{"content":[{"input":{"service_tier":"flex"}}]}}`:                 TierUnsaid,
		`{"service_tier":"auto","usage":{"service_tier":"batch"}}`:                                           TierBatch,
		`{"usage":{"service_tier":"batch"},"service_tier":"auto"}`:                                           TierBatch,
		`{"usage":{"service_tier":"batch", "x":1},"service_tier":"auto"}`:                                    TierBatch,
		`{"service_tier":"flex`:                                                                              TierUnsaid,
		``:                                                                                                   TierUnsaid,
	} {
		if got := FindTier([]byte(answer)); got != want {
			t.Errorf("%s: %d, want %d", answer, got, want)
		}
	}
	answer := []byte(`{"id":"x","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1},"service_tier":"default","system_fingerprint":null}`)
	if n := testing.AllocsPerRun(100, func() { FindTier(answer) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzFindTier(f *testing.F) {
	f.Add([]byte(`{"metadata":{"service_tier":"flex"},"service_tier":"default"}`))
	f.Add([]byte(`{"type":"x","response":{"service_tier":"flex"}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if got := FindTier(answer); got > TierBatch {
			t.Error(got)
		}
	})
}

// Every number of a usage is part of a sum.
func TestUsagePlus(t *testing.T) {
	var a, b Usage
	va, vb := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()
	for i := range va.NumField() {
		if va.Field(i).Kind() == reflect.Int64 {
			va.Field(i).SetInt(int64(i + 1))
			vb.Field(i).SetInt(int64(100 * (i + 1)))
		}
	}
	sum := reflect.ValueOf(a.Plus(b))
	for i := range sum.NumField() {
		if f := sum.Field(i); f.Kind() == reflect.Int64 && f.Int() != int64(101*(i+1)) {
			t.Errorf("%s: %d", sum.Type().Field(i).Name, f.Int())
		}
	}
	if a.Plus(b).Estimated || !a.Plus(Usage{Estimated: true}).Estimated || !(Usage{Estimated: true}).Plus(a).Estimated {
		t.Error("what is estimated in part is estimated")
	}
}
