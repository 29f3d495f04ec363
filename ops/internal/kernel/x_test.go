package kernel
import ("testing";"time";"sort";"fmt")

func TestX(t *testing.T){
 eachISA(t,func(t *testing.T,name string){ if name=="generic"{return}
  for _,s:=range [][3]int{{512,384,384},{64,2880,2880},{64,2880,4096},{24,2880,2880},{64,384,512},{64,512,64}}{
   x,w,y:=make([]float32,s[0]*s[2]),make([]float32,s[1]*s[2]),make([]float32,s[0]*s[1])
   var ts [3][]float64
   n:=s[0]*s[1]*s[2]
   for r:=0;r<20+20000000/n;r++{
    for v:=range 2 { Off= v==1; st:=time.Now();MatMulNT(y,s[1],x,s[2],w,s[2],s[0],s[1],s[2],false); ts[v]=append(ts[v],float64(n)/float64(time.Since(st).Nanoseconds()))}
    ts[2]=append(ts[2],peak(name))
   }
   f:=func(x []float64)float64{sort.Float64s(x);return x[len(x)*3/4]}
   p:=f(ts[2])
   fmt.Printf("%s %v pf %.1f%% nopf %.1f%% peak %.1f\n",name,s,100*f(ts[0])/p,100*f(ts[1])/p,p)
  }
 })
}
