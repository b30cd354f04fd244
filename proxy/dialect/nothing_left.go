package dialect

import (
	"slices"

	"jarvis-gateway/proxy/wire"
)

// stillAsks fails when nothing is left of the client's last question, which is all that was said since the last answer: the
// model would be asked something else. Where the client itself said nothing, the writers say as little. It must be called
// after the turns have been looked at.
func (t *Translation) stillAsks() error {
	begun, dropped := false, false
	for _, turn := range slices.Backward(t.Request.Turns) {
		if turn.Role == RoleAssistant {
			if begun {
				break
			}
			continue
		}
		begun = true
		for i := range turn.Blocks {
			b := &turn.Blocks[i]
			switch {
			case t.noted[b.Path]:
				dropped = true
			case turn.Role == RoleUser && (b.Kind != Text || !blank(b.Text)):
				return nil
			}
		}
	}
	if dropped {
		return t.nothingLeft()
	}
	return nil
}

// nothingLeft is the error of a conversation of which nothing can be sent.
func (t *Translation) nothingLeft() error {
	path := "messages"
	if t.Request.From == wire.Response {
		path = "input"
	}
	e := wire.Invalid(path, "%s has nothing that can be sent to this model.", path)
	e.Code, e.Failover = "nothing_left", true // another target may be able to
	return e
}
