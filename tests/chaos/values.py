"""What the writers write and the readers read back: a number, and something to fill the record."""

PADDING = 100


def value(number):
    return b"%d %s" % (number, b"." * PADDING)


def number_of(data):
    return int(data.split(b" ", 1)[0])
