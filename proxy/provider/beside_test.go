package provider

import (
	"reflect"
	"testing"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// Whatever a call asks for, the one beside it asks for too; and nothing of an attempt's working is shared.
func TestBeside(t *testing.T) {
	call := &Call{Keep: func(dialect.Writer) {}, Header: &fasthttp.RequestHeader{}, Body: &wire.Body{}, Form: &wire.Form{}, Abort: &Abort{}, Meter: meter(nil), Trace: &Trace{}}
	v := reflect.ValueOf(call).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() && f.IsZero() {
			fill(t, v.Type().Field(i).Name, f)
		}
	}
	call.foreign, call.partial, call.vocabOf = true, 3, "x"
	other := reflect.ValueOf(call.Beside()).Elem()
	for i := range v.NumField() {
		switch field := v.Type().Field(i); {
		case field.Name == "Keep":
			if other.Field(i).IsNil() {
				t.Error("Keep was left out")
			}
		case field.IsExported() && !reflect.DeepEqual(v.Field(i).Interface(), other.Field(i).Interface()):
			t.Errorf("%s was left out", field.Name)
		case !field.IsExported() && !other.Field(i).IsZero():
			t.Errorf("%s was taken over", field.Name)
		}
	}
}

type meter func(int64) int64

func (m meter) More(given int64) int64 { return given + 1 }
func (m meter) Prompt() int64          { return 1 }

func fill(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(3)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(t, name, v.Field(i))
			}
		}
	default:
		t.Fatalf("%s: a %s cannot be filled", name, v.Kind())
	}
}

type closings int

func (c *closings) Close() error { *c++; return nil }

// Fire reaches what is beside; Stop ends the work of its own Abort alone, and only until Resume.
func TestAbortBeside(t *testing.T) {
	var a, b Abort
	var one, two closings
	if a.Beside(&b); !a.Hold(&one) || !b.Hold(&two) {
		t.Fatal("called off from the start")
	}
	a.Stop()
	if one != 1 || two != 0 || !a.Fired() || b.Fired() || a.LetGo() || a.Hold(&one) {
		t.Errorf("stopped: closed %d and %d, fired %t and %t", one, two, a.Fired(), b.Fired())
	}
	a.LetGo()
	if a.Resume(); a.Fired() || !a.Hold(&one) {
		t.Error("still stopped")
	}
	if a.Fire(); one != 2 || two != 1 || !b.Fired() {
		t.Errorf("fired: closed %d and %d", one, two)
	}
	var late Abort
	if a.Beside(&late); !late.Fired() {
		t.Error("what comes beside a fired one goes on")
	}
	if a.Resume(); !a.Fired() {
		t.Error("a client that left is back")
	}
	a.Reset()
	var other Abort
	other.Reset()
	if a.Beside(&other); a.Fired() || other.Fired() {
		t.Error("fired after Reset")
	}
	a.Beside(nil)
	if a.Fire(); other.Fired() {
		t.Error("what is not beside any more was fired")
	}
}
