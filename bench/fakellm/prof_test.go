package fakellm

import (
	"net"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestProf(t *testing.T) {
	s := start(t, Options{Quiet: true, Default: Plan{Tokens: 100, Size: 600}})
	body := `{"model":"fake","messages":[{"role":"system","content":"You are a helpful assistant that answers briefly."},{"role":"user","content":"` + strings.Repeat("words ", 28) + `"}]}`
	req := []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: fake\r\nAuthorization: Bearer sk-123\r\nUser-Agent: load\r\nContent-Type: application/json\r\nContent-Length: " + string(appendInt(nil, len(body))) + "\r\n\r\n" + body)
	f, _ := os.Create("/tmp/cpu.out")
	pprof.StartCPUProfile(f)
	var wg sync.WaitGroup
	stop := time.Now().Add(4 * time.Second)
	for range 32 {
		wg.Go(func() {
			c, _ := net.Dial("tcp", s.URL()[7:])
			buf := make([]byte, 64<<10)
			for time.Now().Before(stop) {
				c.Write(req)
				c.Read(buf)
			}
		})
	}
	wg.Wait()
	pprof.StopCPUProfile()
}
