package proxy

import (
	"maps"
	"sync"
	"sync/atomic"
)

// unnamed is what metrics call the tenants beyond the bound, all of them together.
const unnamed = "other"

// tenantNames are the tenants that metrics call by their names. A name that was given stays, so that a series never changes
// whom it tells of.
type tenantNames struct {
	most  atomic.Int64 // 0: as many as manyTenants
	mu    sync.Mutex
	named atomic.Pointer[map[string]bool]
}

var tenants tenantNames

const manyTenants = 100

// BoundTenants sets how many tenants have a name of their own in metrics: the first so many that are heard of. The others are
// one. It takes nobody's name away.
func BoundTenants(n int) { tenants.most.Store(int64(max(n, 1))) }

// label is what metrics call a tenant; "" is nobody.
func (t *tenantNames) label(tenant string) string {
	if tenant == "" || t.has(tenant) {
		return tenant
	}
	if t.full() {
		return unnamed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.has(tenant) {
		return tenant
	}
	if t.full() {
		return unnamed
	}
	named := map[string]bool{}
	if before := t.named.Load(); before != nil {
		named = maps.Clone(*before)
	}
	named[tenant] = true
	t.named.Store(&named)
	return tenant
}

func (t *tenantNames) has(tenant string) bool {
	named := t.named.Load()
	return named != nil && (*named)[tenant]
}

func (t *tenantNames) full() bool {
	most := t.most.Load()
	if most == 0 {
		most = manyTenants
	}
	named := t.named.Load()
	return named != nil && int64(len(*named)) >= most
}
