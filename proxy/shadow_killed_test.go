//go:build unix

package proxy

import (
	"testing"

	"jarvis-gateway/bench/fakellm"
)

// A copy of a request that the end of the process cuts off costs something all the same: its estimate is recorded, for no tenant.
func TestMirrorKilled(t *testing.T) {
	s := newStadium(t, fakellm.Plan{}, fakellm.Plan{})
	s.mirrored(t)
	d := &doomed{t: t, dir: t.TempDir(), x: s.x, list: map[string]string{}}
	s.x.conn.server = d.server(d.dir)
	m := s.x.mirror()
	target, attempt, err := m.to.Do(m)
	if err != nil {
		t.Fatal(err)
	}
	attempt.End(nil)
	d.keep("sent")
	used, err := m.drain()
	if err != nil {
		t.Fatal(err)
	}
	m.writeDown(target, used, 0, outcomeOK)
	d.keep("ended")
	for name, want := range map[string]bool{"sent": true, "ended": false} {
		list := d.recorded(d.list[name], false)
		if len(list) != 1 || list[0].Interrupted != want || list[0].Usage.Estimated != want || list[0].Route != "shadow" || list[0].Tenant != "" || list[0].Rollout != "chat" {
			t.Errorf("%s: %+v", name, list)
		}
	}
}
