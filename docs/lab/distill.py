#!/usr/bin/env python3
"""Self-distillation of a ternary GPT-OSS on a GPU: the laboratory behind
docs/quality.md. Recipes are tried here because a run takes minutes; what wins is
built in Go (quantize/distill.go). Nothing of Tritium needs this file.

Shapes are those of the checkpoint `small`. Token ids come from Tritium:

    tritium tokenize small --json < calibration.txt > calibration.json
    tritium tokenize small --json < heldout.txt > heldout.json
    python3 docs/lab/distill.py small calibration.json heldout.json --attention int8 --minutes 8

The protocol is that of docs/quality.md: windows of 512 tokens, the first 1,536 of
the calibration text, evaluation on the first 384 of the held-out text, 8-bit
activations. The student starts from stage 1 (least squares per group) with no
statistics; its latent weights, scales, biases, norms, sinks and router learn the
next-token distribution of the original on text that the original sampled itself.
"""
import argparse
import json
import math
import struct
import time

import torch

DEV, F32, BF16 = "cuda", torch.float32, torch.bfloat16
LAYERS, HIDDEN, HEADS, KV, HEAD, EXPERTS, ACTIVE, INNER, WINDOW = 6, 384, 12, 4, 64, 16, 4, 384, 512
LAST_TEXT_ID = 4073  # ids from here on are specials, never sampled

torch.backends.cuda.matmul.allow_tf32 = True
torch.set_float32_matmul_precision("high")
START = time.time()


def log(*parts):
    print(f"[{time.time() - START:7.1f}]", *parts, flush=True)


# ---------------------------------------------------------------- checkpoint

def read_safetensors(path):
    types = {"BF16": BF16, "U8": torch.uint8}
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        tensors = {}
        for name, t in header.items():
            if name == "__metadata__":
                continue
            lo, hi = t["data_offsets"]
            f.seek(8 + n + lo)
            tensors[name] = torch.frombuffer(bytearray(f.read(hi - lo)), dtype=types[t["dtype"]]).view(t["shape"])
        return tensors


def decode_mxfp4(blocks, scales):
    values = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])
    pairs = torch.stack([values[(blocks & 15).long()], values[(blocks >> 4).long()]], -1).flatten(-2)
    return (pairs * torch.exp2(scales.float() - 127)[..., None]).flatten(-2)


def load(path):
    """The layers as dictionaries of float32 weights, and (embedding, head, norm)."""
    raw = read_safetensors(path + "/model.safetensors")
    get = lambda name: raw[name].float().to(DEV)
    layers = []
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        w = dict(n1=get(p + "input_layernorm.weight"), n2=get(p + "post_attention_layernorm.weight"),
                 sinks=get(p + "self_attn.sinks"), r=get(p + "mlp.router.weight"), rb=get(p + "mlp.router.bias"))
        for name in "qkvo":
            w[name] = get(p + f"self_attn.{name}_proj.weight")
            w[name + "b"] = get(p + f"self_attn.{name}_proj.bias")
        for name, part in (("gu", "gate_up_proj"), ("dn", "down_proj")):
            part = p + "mlp.experts." + part
            w[name] = decode_mxfp4(raw[part + "_blocks"], raw[part + "_scales"]).to(DEV)
            w[name + "b"] = get(part + "_bias")
        layers.append(w)
    return layers, (get("model.embed_tokens.weight"), get("lm_head.weight"), get("model.norm.weight"))


def windows(path, n):
    ids = torch.tensor(json.load(open(path))["ids"])
    n = min(n, (len(ids) - 1) // WINDOW)
    return ids[:n * WINDOW].view(n, WINDOW).to(DEV), ids[1:n * WINDOW + 1].view(n, WINDOW).to(DEV)


# --------------------------------------------------------------------- model

def rope_tables():
    c = .1 * math.log(32) + 1
    i = torch.arange(32, dtype=torch.float64)
    f = 150000 ** (2 * i / 64)
    low, high = (32 * math.log(4096 / (k * 2 * math.pi)) / math.log(150000) for k in (32, 1))
    r = ((i - low) / (high - low)).clamp(0, 1)
    angle = torch.arange(WINDOW, dtype=torch.float64)[:, None] * ((1 - r) / f + r / (32 * f))
    return (angle.cos() * c).float().to(DEV), (angle.sin() * c).float().to(DEV)


COS, SIN = rope_tables()
POS = torch.arange(WINDOW, device=DEV)
CAUSAL = POS[None] <= POS[:, None]
MASKS = [torch.zeros(WINDOW, WINDOW, device=DEV).masked_fill(~m, -1e30)
         for m in (CAUSAL & (POS[None] > POS[:, None] - 128), CAUSAL)]  # sliding, full


def rms(x, w):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w


def round8(x):
    """8 bits a token, straight-through."""
    s = x.detach().abs().amax(-1, keepdim=True).clamp_min(1e-10) / 127
    return x + ((x / s).round() * s - x).detach()


def rope(x, cos, sin):
    a, b = x[..., :32], x[..., 32:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def experts(h, w, act8, dt):
    """All experts for all tokens, in two products: four times the arithmetic, and faster."""
    n = h.shape[0]
    top, chosen = (h @ w["r"].T + w["rb"]).topk(ACTIVE, -1)
    gate = torch.zeros(n, EXPERTS, device=h.device).scatter(1, chosen, top.softmax(-1))
    x = round8(h) if act8 else h
    u = (x.to(dt) @ w["gu"].to(dt).view(-1, HIDDEN).T).float().view(n, EXPERTS, INNER, 2) + w["gub"].view(EXPERTS, INNER, 2)
    g, up = u[..., 0].clamp(max=7), u[..., 1].clamp(-7, 7)
    a = g * torch.sigmoid(1.702 * g) * (up + 1)
    a = (round8(a) if act8 else a) * gate[..., None]
    return (a.to(dt).view(n, -1) @ w["dn"].to(dt).permute(0, 2, 1).reshape(-1, HIDDEN)).float() + gate @ w["dnb"]


def layer(x, w, mask, act8: bool, dt):
    b, t, _ = x.shape
    h = rms(x, w["n1"])
    h = (round8(h) if act8 else h).to(dt)
    q, k, v = ((h @ w[n].to(dt).T).float() + w[n + "b"] for n in "qkv")
    q = rope(q.view(b, t, HEADS, HEAD).transpose(1, 2), COS, SIN).reshape(b, KV, HEADS // KV * t, HEAD)
    k = rope(k.view(b, t, KV, HEAD).transpose(1, 2), COS, SIN)
    v = v.view(b, t, KV, HEAD).transpose(1, 2)
    s = (q.to(dt) @ k.to(dt).transpose(-1, -2)).float().view(b, HEADS, t, t) * .125 + mask
    sink = w["sinks"][None, :, None, None]
    top = torch.maximum(s.detach().amax(-1, keepdim=True), sink.detach())
    e = torch.exp(s - top)
    p = (e / (e.sum(-1, keepdim=True) + torch.exp(sink - top))).to(dt).view(b, KV, HEADS // KV * t, t)
    o = (p @ v.to(dt)).float().view(b, HEADS, t, HEAD).transpose(1, 2).reshape(b, t, HEADS * HEAD)
    x = x + ((round8(o) if act8 else o).to(dt) @ w["o"].to(dt).T).float() + w["ob"]
    return x + experts(rms(x, w["n2"]).view(b * t, HIDDEN), w, act8, dt).view(b, t, HIDDEN)


compiled_layer = torch.compile(layer, dynamic=False)


def forward(ids, layers, tables, act8, dt):
    """The logits, and the residual stream before and after every layer."""
    embedding, head, norm = tables
    stream = [embedding[ids]]
    for i, w in enumerate(layers):
        stream.append(compiled_layer(stream[-1], w, MASKS[i % 2], act8, dt))
    return (rms(stream[-1], norm).to(dt) @ head.to(dt).T).float(), stream


@torch.no_grad()
def evaluate(teacher, layers, tables, held):
    kl = nll_q = nll_o = same = 0.
    for x, y in zip(held[0].split(16), held[1].split(16)):
        o = forward(x, *teacher, False, F32)[0].log_softmax(-1)
        q = forward(x, layers, tables, True, F32)[0].log_softmax(-1)
        kl += (o.exp() * (o - q)).sum().item()
        nll_o -= o.gather(-1, y[..., None]).sum().item()
        nll_q -= q.gather(-1, y[..., None]).sum().item()
        same += (o.argmax(-1) == q.argmax(-1)).sum().item()
    n = held[0].numel()
    return dict(ratio=round(math.exp((nll_q - nll_o) / n), 4), kl=round(kl / n, 4), top1=round(same / n, 4), nll=round(nll_o / n, 4))


@torch.no_grad()
def self_text(teacher, n, first, temperature, batch=4096):
    """Windows that the original writes, each from a random token of the calibration text."""
    layers, (embedding, head, norm) = teacher
    layers = [{k: v.to(BF16) if k in ("gu", "dn") else v for k, v in w.items()} for w in layers]
    cache = [torch.zeros(2, batch, KV, WINDOW, HEAD, device=DEV, dtype=BF16) for _ in layers]
    ids, at = torch.zeros(batch, dtype=torch.long, device=DEV), torch.zeros(1, dtype=torch.long, device=DEV)

    def step(span):
        x, cos, sin, where = embedding[ids], COS[at], SIN[at], torch.arange(span, device=DEV)
        for i, (w, c) in enumerate(zip(layers, cache)):
            h = rms(x, w["n1"])
            q = rope((h @ w["q"].T + w["qb"]).view(batch, HEADS, HEAD), cos, sin)
            k = rope((h @ w["k"].T + w["kb"]).view(batch, KV, HEAD), cos, sin)
            v = (h @ w["v"].T + w["vb"]).view(batch, KV, HEAD)
            c[0].index_copy_(2, at, k.to(BF16)[:, :, None])
            c[1].index_copy_(2, at, v.to(BF16)[:, :, None])
            s = (q.to(BF16).view(batch, KV, -1, HEAD) @ c[0][:, :, :span].transpose(-1, -2)).float() * .125
            seen = (where <= at) & (where > at - 128) if i % 2 == 0 else where <= at
            sink = w["sinks"].view(1, KV, -1, 1).expand(batch, -1, -1, -1)
            p = torch.cat([s.masked_fill(~seen, -1e30), sink], -1).softmax(-1)[..., :span]
            x = x + (p.to(BF16) @ c[1][:, :, :span]).float().reshape(batch, -1) @ w["o"].T + w["ob"]
            x = x + experts(rms(x, w["n2"]), w, False, BF16)
        logits = rms(x, norm) @ head.T
        logits[:, LAST_TEXT_ID:] = -1e30
        gumbel = -torch.log(-torch.log(torch.rand_like(logits).clamp_min(1e-20)))
        ids.copy_((logits / temperature + gumbel).argmax(-1))
        at.add_(1)

    compiled, graphs = torch.compile(step, dynamic=False), {}
    for span in range(128, WINDOW + 1, 128):
        at.zero_()
        compiled(span)
        torch.cuda.synchronize()
        at.zero_()
        graphs[span] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[span]):
            compiled(span)
    out, flat = torch.zeros(-(-n // batch) * batch, WINDOW, dtype=torch.long, device=DEV), first.flatten()
    for rows in out.split(batch):
        at.zero_()
        ids.copy_(flat[torch.randint(len(flat), (batch,), device=DEV)])
        for t in range(WINDOW):
            rows[:, t] = ids
            if t < WINDOW - 1:
                graphs[(t // 128 + 1) * 128].replay()
    return out[:n]


# ------------------------------------------------------------------- student

def stage1(w, group):
    """Least squares: the k largest of a group become ±scale, k and scale the best."""
    size = w.abs().view(*w.shape[:-1], -1, group).sort(-1, descending=True)[0].cumsum(-1)
    k = (size * size / torch.arange(1, group + 1, device=DEV)).argmax(-1, keepdim=True)
    return size.gather(-1, k)[..., 0] / (k[..., 0] + 1)


def codes(latent, scale):
    r = latent.view(*scale.shape, -1) / scale[..., None]
    return r, torch.where(r.abs() > .5, r.sign(), torch.zeros_like(r))


def ternarize(latent, scale):
    """scale·code; straight-through by the latent weight, LSQ by the scale."""
    r, t = codes(latent.detach(), scale.detach())
    by_scale = torch.where(r.abs() < 1, t - r, t)
    w = scale[..., None].detach() * t + by_scale * (scale - scale.detach())[..., None]
    return w.flatten(-2) + (latent - latent.detach())


def round_rows8(latent):
    s = latent.detach().abs().amax(-1, keepdim=True) / 127
    return latent + ((latent / s).round() * s - latent).detach()


def only_inwards(grad, latent, scale):
    """Beyond the clamp a latent weight may only move back."""
    s = scale[..., None].expand(*scale.shape, latent.shape[-1] // scale.shape[-1]).reshape(latent.shape)
    return torch.where((latent.abs() >= s) & (grad * latent <= 0), torch.zeros_like(grad), grad)


ternarize, round_rows8, only_inwards = (torch.compile(f, dynamic=False) for f in (ternarize, round_rows8, only_inwards))


class Student:
    def __init__(self, teacher, group, attention, train_tables):
        layers, tables = teacher
        self.tables = [t.clone() for t in tables]
        self.latents, self.others = [], []
        for w in layers:
            latent, other = {}, {}
            for name, v in w.items():
                if name in ("gu", "dn") or name in ("q", "k", "v", "o") and attention == "ternary":
                    s = stage1(v, group)
                    latent[name] = (v + (s[..., None] * codes(v, s)[1]).flatten(-2)) / 2
                    other[name + ".scale"] = s
                elif name in ("q", "k", "v", "o"):
                    latent[name] = v.clone()
                else:
                    other[name] = v.clone()
            self.latents.append(latent)
            self.others.append(other)
        self.rounded = [v for d in self.latents for v in d.values()]
        self.rest = [v for d in self.others for v in d.values()] + self.tables[0 if train_tables else 2:]
        self.floors = [(v, v / 10) for d in self.others for k, v in d.items() if k.endswith(".scale")]
        for v in self.rounded + self.rest:
            v.requires_grad_(True)

    def weights(self):
        for latent, other in zip(self.latents, self.others):
            w = {k: v for k, v in other.items() if not k.endswith(".scale")}
            for k, v in latent.items():
                w[k] = ternarize(v, other[k + ".scale"]) if k + ".scale" in other else round_rows8(v)
            yield w

    @torch.no_grad()
    def clip(self):
        for latent, other in zip(self.latents, self.others):
            for k, v in latent.items():
                if k + ".scale" in other:
                    v.grad.copy_(only_inwards(v.grad, v, other[k + ".scale"]))

    @torch.no_grad()
    def keep_scales_positive(self):
        for v, floor in self.floors:
            v.clamp_(min=floor)


def train(o, teacher, own, real):
    torch.manual_seed(o.seed)
    s = Student(teacher, o.group, o.attention, o.tables)
    optimizer = torch.optim.Adam([dict(params=s.rounded), dict(params=s.rest)], lr=o.rate, betas=(.9, .99), eps=1e-12, fused=True)
    begin, step, total = time.time(), 0, 0.
    n_own = round(o.batch * o.own)
    pick = lambda x, n: x[torch.randint(len(x), (n,), device=DEV)]
    while True:
        done = (time.time() - begin) / (60 * o.minutes) if o.minutes else step / o.steps
        if done >= 1:
            break
        x = torch.cat([pick(own, n_own), pick(real, o.batch - n_own)])
        with torch.no_grad():
            want, stream_o = forward(x, *teacher, False, F32)
            want = want.log_softmax(-1)
        got, stream_q = forward(x, list(s.weights()), s.tables, True, BF16)
        loss = kl = (want.exp() * (want - got.log_softmax(-1))).sum(-1).mean()
        if o.hidden:  # the stream behind every layer, relative to what the layer adds
            for q, y, x_ in zip(stream_q[1:], stream_o[1:], stream_o[:-1]):
                loss = loss + o.hidden * (1 - done) * ((q - y) ** 2).sum() / ((y - x_) ** 2).sum()
        loss.backward()
        s.clip()
        rate = o.rate * min(1, (step + 1) / 50) * (1 + math.cos(math.pi * done)) / 2
        for group, share in zip(optimizer.param_groups, (1, o.others)):
            group["lr"] = rate * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        s.keep_scales_positive()
        step, total = step + 1, total + kl.detach()
        if step % 500 == 0:
            log(f"step {step}: training KL {total.item() / 500:.4f}, {(time.time() - begin) / step * 1e3:.1f} ms a step")
            total = 0.
    with torch.no_grad():
        return step, [{k: v.detach() for k, v in w.items()} for w in s.weights()], [t.detach() for t in s.tables]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("calibration")
    p.add_argument("heldout")
    p.add_argument("--attention", choices=("int8", "ternary"), default="int8")
    p.add_argument("--group", type=int, default=128)
    p.add_argument("--steps", type=int, default=1200)
    p.add_argument("--minutes", type=float, help="stop after this long, instead of after --steps")
    p.add_argument("--batch", type=int, default=16, help="windows a step")
    p.add_argument("--rate", type=float, default=6e-4, help="of Adam for latent weights")
    p.add_argument("--others", type=float, default=.3, help="rate of everything else, relative to --rate")
    p.add_argument("--hidden", type=float, default=.3, help="weight of the error of the residual stream; falls to 0")
    p.add_argument("--tables", action="store_true", help="train embedding and head too")
    p.add_argument("--self-text", type=int, default=16384, help="windows that the original writes")
    p.add_argument("--temperature", type=float, default=1)
    p.add_argument("--own", type=float, default=.9, help="share of them in a step")
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    teacher = load(o.model)
    real, held = windows(o.calibration, 1536)[0], windows(o.heldout, 384)
    log(torch.cuda.get_device_name(), "8-bit activations alone:", evaluate(teacher, *teacher, held))
    own = self_text(teacher, o.self_text, real, o.temperature)
    log("self-text:", len(own), "windows")
    steps, layers, tables = train(o, teacher, own, real)
    log(json.dumps(dict(vars(o), steps=steps, **evaluate(teacher, layers, tables, held))))


if __name__ == "__main__":
    main()
