"""Trains while a function says that it has not converged; a global counter, a callable object."""

count = 0


class Net:
    scale = 1.0

    def __init__(self, n):
        self.w = [0.5 * k for k in range(n)]
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return sum(w * x**k for k, w in enumerate(self.w))


def converged(net, xs):
    global count
    count += 1
    return max(abs(net(x) - 2 * x) for x in xs) < 0.3


def update(net, xs, rate=0.01):
    for x in xs:
        error = net(x) - 2 * x
        for k in range(len(net.w)):
            net.w[k] -= rate * error * x**k
        # ask(inner): print("ASK", x, error)
    return net


net, xs = Net(4), [k / 7 for k in range(-7, 8)]
epoch = 0
while not converged(net, xs):
    update(net, xs)
    epoch += 1
    if epoch % 5 == 0:
        print("epoch", epoch, net.w[1], net.calls)
        continue
    # ask(outer): print("ASK", epoch, net.w, count)
    if epoch > 60:
        break
print("done", epoch, count, net.calls)
