"""A book you run: from an image as a grid of numbers to a Learner of your own, tested on handwritten digits

You know Python, and you want to know how a computer learns. This book builds every part of the answer in notebooks: first by hand, then with PyTorch, and each step is shown to give the same numbers. The training loop that comes of it runs beside fastai's, number for number. The notebooks are the book, the tests and the source of a library, all at once. It runs on a laptop, with no GPU and no network if need be, and proves what it says.

Modules:

- `mnist_from_scratch.backprop`: What `backward` does: the chain rule, a line for each line of the way forward.
- `mnist_from_scratch.benchmarks`: What this book's code costs beside fastai, plain PyTorch and the bare arithmetic, measured side by side.
- `mnist_from_scratch.convolutions`: A small window slides over the image, and a network that sees neighbourhoods makes a third of the mistakes of one that sees a list of pixels.
- `mnist_from_scratch.data`: Where the images come from: MNIST, the digits inside scikit-learn, or a folder of your own, all by one function.
- `mnist_from_scratch.exercises`: How an exercise of this book is asked, checked and proven.
- `mnist_from_scratch.initialization`: Why the start decides: fifty layers deep, the first weights keep the numbers alive or let them vanish.
- `mnist_from_scratch.ladder`: Every model of the book, fitted on this machine and compared by one command.
- `mnist_from_scratch.learner`: The training loop, once and for all: data, model, loss and optimizer in one object, and a place to hook in everything else.
- `mnist_from_scratch.linear`: The first model that learns: one weight for each pixel, found by following the slope.
- `mnist_from_scratch.mlp`: One bend between two linear layers changes everything: with it, a network can follow any curve, given units enough.
- `mnist_from_scratch.optimizers`: Steps with a memory: momentum, Adam and AdamW in a few lines each, schedules beside their controls, and a way to find a learning rate.
- `mnist_from_scratch.own_digits`: The network leaves its box: ten hard digits to read against you, pictures of your own, and what it says to things that are no digits.
- `mnist_from_scratch.pixel_similarity`: A baseline first: how many digits can be read with averages and nothing else?
- `mnist_from_scratch.recipe`: A recipe for a minute of training, and what its number is worth: measured on digits that chose nothing, with errors that belong to differences.
- `mnist_from_scratch.saving`: Nothing is lost: files of tensors and plain values that are checked before they are used, checkpoints during a fit, and a fit that was killed goes on to the bit.
- `mnist_from_scratch.sgd`: How to make a number smaller by adjusting other numbers: find the slope, take a step down, and repeat.
- `mnist_from_scratch.ten_digits`: Ten votes become ten probabilities, a loss listens to the right one, and the network with one hidden layer reads all ten digits.
- `mnist_from_scratch.tensors`: A picture is a grid of numbers, and a tensor is how to calculate with thousands of such grids at once."""

__version__ = "0.1.0"
