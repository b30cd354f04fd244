package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Alarm is something beside budgets that the operator must know of.
type Alarm struct {
	Type     string // such as provider.auth_refused
	Provider string
	Model    string // the entry of models
	Served   string // the provider's name for it
	At       time.Time
}

// sameAlarm is for how long alarms of one provider are one, over all replicas.
const sameAlarm = 10 * time.Minute

// Alarm tells the gateway's own webhook, signed as it is of budgets; where there is none it does nothing. It does not wait.
func (g *Gate) Alarm(a Alarm) {
	n, errs := newNotice("alerts", g.setup.Alerts, true)
	if g.alerts == nil || n.url == "" || len(errs) > 0 {
		return
	}
	begun := a.At.UTC().Truncate(sameAlarm)
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %q %d", a.Type, a.Provider, begun.Unix()))
	body := fmt.Appendf(nil, `{"type":"%s","timestamp":"%s","data":{"provider":`, a.Type, a.At.UTC().Format(time.RFC3339))
	body = wire.AppendString(body, a.Provider)
	body = wire.AppendString(append(body, `,"model":`...), a.Model)
	body = append(wire.AppendString(append(body, `,"served":`...), a.Served), "}}"...)
	g.alerts.tell(&message{
		Alert:  Alert{Event: a.Type},
		notice: n, id: "msg_" + hex.EncodeToString(digest[:16]), until: begun.Add(sameAlarm), body: body,
	})
}
