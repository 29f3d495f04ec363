package kernel
import ("testing";"time";"sort";"fmt")
func q(f func() ) float64 { var ts []float64; for range 60 { s:=time.Now(); f(); ts=append(ts,float64(time.Since(s).Nanoseconds()))}; sort.Float64s(ts); return ts[10] }
func TestX(t *testing.T){
 eachISA(t,func(t *testing.T,name string){ if name=="generic"{return}
  a,b:=make([]float32,32*4096),make([]float32,32*4096)
  acc:=make([]float32,24*16); dst:=make([]float32,4096)
  mr,nr,nv:=tileShape()
  pk:=func() float64{ s:=0.0; for range 5 {p:=peak(name); if p>s {s=p}}; return s}
  for _,k:=range []int{}{ for _,ld:=range []int{256,2880,4096}{ if ld<k {continue}
   r:=200000/k
   for _,mode:=range []int{0,1,2}{
   tm:=q(func(){for range r{ tile(&dst[0],64,&a[0],ld,&b[0],ld,k,&acc[0],mode)}})
   fmt.Printf("%s tile k=%d ld=%d mode=%d %.1f%%\n",name,k,ld,mode,100*float64(r*k*mr*nr)/tm/pk())}
   tm:=q(func(){for range r{ gemv(&dst[0],&a[0],&b[0],ld,k,&acc[0],2)}})
   fmt.Printf("%s gemv k=%d ld=%d %.1f%%\n",name,k,ld,100*float64(r*k*nv)/tm/pk())
  }}
  for _,s:=range [][3]int{{24,24,256},{64,24,512},{128,384,384},{16,240,2880},{16,240,2880+16},{16,240,4096},{64,480,2880},{64,480,4096},{8,2880,2880},{128,128,64}}{
   x,w,y:=make([]float32,s[0]*s[2]),make([]float32,s[1]*s[2]),make([]float32,s[0]*s[1])
   r:=max(1,1000000/(s[0]*s[1]*s[2]))
   tm:=q(func(){for range r{MatMulNT(y,s[1],x,s[2],w,s[2],s[0],s[1],s[2],false)}})
   fmt.Printf("%s mm %v %.1f%% %.1f\n",name,s,100*float64(r*s[0]*s[1]*s[2])/tm/pk(),pk())
  }
 })
}
