package proxy

import (
	"bytes"
	"errors"
	"io"

	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

// checkAsked has the tenant's guards look at the request: they may refuse it, or mask what it says.
func (x *exchange) checkAsked() error {
	chain := x.caller.Guards()
	switch {
	case chain == nil:
		return nil
	case x.call.Form != nil:
		return x.checkForm(chain)
	case x.call.Body == nil:
		return nil
	}
	raw, vault, flags, err := chain.Request(x.body.Raw(), x.ep.kind)
	if x.vault, x.flags = vault, flags; err != nil {
		return err
	}
	if same(raw, x.body.Raw()) {
		return nil
	}
	x.body, err = wire.Parse(raw)
	return err
}

// same tells whether nothing was changed: the bytes are the very ones.
func same(a, b []byte) bool { return len(a) == len(b) && &a[0] == &b[0] }

// checkAnswer has them look at the answer, and puts back what was masked in the request. A refused answer stays in the
// reply, for what it has cost.
func (x *exchange) checkAnswer() error {
	chain := x.caller.Guards()
	if chain == nil {
		return nil
	}
	var err error
	body := x.reply.Body
	switch events := isEvents(x.reply.ContentType) && x.ep.events(); {
	case x.reply.Stream != nil && events:
		x.reply.Stream, err = guardStream(x.reply.Stream, x.ep.kind, chain, x.vault)
	case x.reply.Stream != nil: // bytes, which say nothing
	case events:
		body, x.flags, err = guardEvents(body, x.ep.kind, chain, x.vault)
	default:
		body, x.flags, err = chain.Answer(body, x.ep.kind, x.vault)
	}
	if err == nil {
		x.reply.Body = body
	}
	return err
}

func isEvents(contentType []byte) bool {
	return len(contentType) >= len(typeEvents) && bytes.EqualFold(contentType[:len(typeEvents)], typeEvents)
}

// guardEvents checks a stream that is at hand as a whole.
func guardEvents(stream []byte, kind wire.Kind, chain *guard.Chain, v *guard.Vault) (out []byte, flags []string, err error) {
	check := chain.Stream(kind, v)
	if check == nil {
		return stream, v.Flags(), nil
	}
	for len(stream) > 0 {
		end, _ := wire.EventEnd(stream, 0)
		if end == 0 {
			end = len(stream)
		}
		if out, err = check.Event(out, stream[:end]); err != nil {
			return nil, check.Flags(), err
		}
		stream = stream[end:]
	}
	out, err = check.End(out)
	return out, check.Flags(), err
}

// noted is the guards that noted something.
func (x *exchange) noted() []string {
	if x.vault != nil {
		return x.vault.Flags()
	}
	if told, ok := x.reply.Stream.(*guarded); ok {
		return told.check.Flags()
	}
	return x.flags
}

// guarded is an event stream whose texts pass through a tenant's guards. Like the streams of providers it is pulled: a
// Read reads on until there is something to give. It holds what one read brought, one event that is not whole yet, and
// what the guards hold back.
type guarded struct {
	inner wire.Stream
	check *guard.Stream

	in     []byte // read, but not whole
	sought int    // where the search for the end of the unfinished event goes on
	out    []byte // checked
	given  int    // of out, already given on
	err    error  // sticky
}

// maxGuarded bounds an event that is checked.
const maxGuarded = 32 << 20

// guardStream puts a tenant's guards between a provider's events and the client; without guards on answers and with
// nothing to put back the stream stays as it is. It is for streams of events only. What is at hand has been checked when
// it returns: a refusal then is an error, and the stream, which still tells what it has cost, is closed. Later ones come
// from Read.
func guardStream(inner wire.Stream, kind wire.Kind, chain *guard.Chain, v *guard.Vault) (wire.Stream, error) {
	check := chain.Stream(kind, v)
	if check == nil {
		return inner, nil
	}
	g := &guarded{inner: inner, check: check, in: make([]byte, 0, 4<<10)}
	g.fill()
	var refused *wire.Error
	if len(g.out) == 0 && errors.As(g.err, &refused) {
		_ = inner.Close() // what it says is not wanted
		return inner, refused
	}
	return g, nil
}

// Read gives whole events, as many as one read from the provider brought.
func (g *guarded) Read(p []byte) (int, error) {
	for {
		if g.given < len(g.out) {
			n := copy(p, g.out[g.given:])
			g.given += n
			return n, nil
		}
		if g.err != nil {
			return 0, g.err
		}
		g.fill()
	}
}

// fill reads once from the provider and checks the events that are whole.
func (g *guarded) fill() {
	g.out, g.given = g.out[:0], 0
	if len(g.in) == cap(g.in) {
		if len(g.in) >= maxGuarded {
			g.fail(wire.Server(502, "upstream_error", "The provider sent an event that is too large.", nil))
			return
		}
		g.in = append(g.in, 0)[:len(g.in)]
	}
	n, err := g.inner.Read(g.in[len(g.in):cap(g.in)])
	g.in = g.in[:len(g.in)+n]
	at := 0
	for g.err == nil {
		end, resume := wire.EventEnd(g.in[at:], g.sought)
		if g.sought = resume; end == 0 {
			break
		}
		g.pass(g.in[at : at+end])
		at += end
	}
	g.in = g.in[:copy(g.in, g.in[at:])]
	if err != nil && g.err == nil {
		g.end(err)
	}
}

func (g *guarded) pass(event []byte) {
	var err error
	if g.out, err = g.check.Event(g.out, event); err != nil {
		g.fail(err)
	}
}

// end is the end of the provider's bytes. At a clean one all that is held may leave; a stream that was cut ends where it
// is sure of what it says.
func (g *guarded) end(err error) {
	if err == io.EOF {
		if len(g.in) > 0 {
			g.pass(append(g.in, '\n', '\n'))
			g.in = g.in[:0]
		}
		if g.err != nil {
			return
		}
		var refused error
		if g.out, refused = g.check.End(g.out); refused != nil {
			err = refused
		}
	}
	g.err = err
}

// fail stops the provider: nothing more of its answer is wanted.
func (g *guarded) fail(err error) {
	g.err = err
	_ = g.inner.Close()
}

// Usage is what the provider reported.
func (g *guarded) Usage() wire.Usage { return g.inner.Usage() }

// Failure is the failure that the provider's stream itself told the client of.
func (g *guarded) Failure() error {
	if told, ok := g.inner.(interface{ Failure() error }); ok {
		return told.Failure()
	}
	return nil
}

// Close stops the provider.
func (g *guarded) Close() error {
	g.out, g.in = nil, g.in[:0]
	g.given = 0
	if g.err == nil {
		g.err = io.ErrClosedPipe
	}
	return g.inner.Close()
}
