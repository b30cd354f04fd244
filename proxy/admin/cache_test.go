package admin

import "testing"

func TestPurgeCache(t *testing.T) {
	var purged []string
	s := newStage(t, func(setup *Setup) {
		setup.Purge = func(tenant, model string) (int, bool) {
			purged = append(purged, tenant+"/"+model)
			return 3, tenant != ""
		}
	})
	if a := s.must("DELETE", "/cache?model=chat&tenant=acme", ""); a.get("purged") != "3" || a.get("everywhere") != "true" || purged[0] != "acme/chat" {
		t.Error(a.body, purged)
	}
	if a := s.must("DELETE", "/cache", ""); a.get("everywhere") != "false" || purged[1] != "/" {
		t.Error(a.body, purged)
	}
	for query, param := range map[string]string{"?models=chat": "models", "?model=": "model", "?model=a&model=b": "model"} {
		s.want(s.owner("DELETE", "/cache"+query, ""), 400, "", param)
	}
	list := s.must("GET", "/audit?action=cache.purge", "")
	if list.get("data.#") != "2" || len(purged) != 2 || list.get("data.0.tenant") != "acme" || list.get("data.0.target") != "chat" {
		t.Error(list.body, purged)
	}
}
