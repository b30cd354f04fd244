package flows
import ("testing";"context";"strings";"time";"runtime")
func TestZZ(t *testing.T){
 big:=strings.Repeat("x",1<<20)
 for _,c:=range []struct{n,set string}{
  {"join1k",`join(split(input, ""), "`+strings.Repeat("y",500)+`")`},
  {"maplit",`map(split(input, ""), "`+strings.Repeat("y",500)+`")`},
  {"map100k",`map(take(split(input, ""),90000), "`+strings.Repeat("y",2000)+`")`},
  {"arr",`[`+strings.TrimSuffix(strings.Repeat("input,",140),",")+`]`},
  {"concat",strings.TrimSuffix(strings.Repeat("input+",140),"+")},
  {"splitmany",strings.TrimSuffix(strings.Repeat(`len(split(input,""))+`,40),"+")},
  {"regex",`input matches "(x+x+)+y"`},
  {"regex2",`input matches "(.{1,1000}){1}z"`},
  {"maploop",`len(filter(split(input,""), {# matches "a{1000}"}))`},
  {"regexloop",`input matches "`+strings.Repeat("(x?){100}",3)+`y"`},
  {"let", `let a=input+input; a+a`},
  {"upper", `len(upper(input))`},
  {"max", `max(split(input,""))`},
  {"sum", `string(split(input,""))`},
  {"lenmap", `len(map(split(input,""), upper(#)))`},
  {"ternary", `string([[[input,input],[input,input]],[[input,input],[input,input]]])`},
 }{
  f,err:=parse("x.yml",[]byte("name: a\nversion: 1.0.0\nsteps: [{id: s, set: '"+strings.ReplaceAll(c.set,"'","''")+"'}]\noutput: '{{ len(steps.s.text) }}'\n"),Models{})
  if err!=nil{ e:=err.Error(); if len(e)>150{e=e[:150]}; t.Log(c.n,"refused:",e); continue}
  var a,b runtime.MemStats; runtime.ReadMemStats(&a); at:=time.Now()
  out,err:=f.Run(context.Background(),Input{Text:big},Host{})
  runtime.ReadMemStats(&b)
  e:=""; if err!=nil {e=err.Error(); if len(e)>160{e=e[len(e)-160:]}}
  t.Logf("%s: %v alloc %d MiB sys %d MiB out=%s %s",c.n,time.Since(at),(b.TotalAlloc-a.TotalAlloc)>>20,b.Sys>>20,out,e)
 }
}
