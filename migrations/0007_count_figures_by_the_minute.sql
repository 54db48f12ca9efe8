-- Figures are written once a minute and partition, when it is over, and no more with each batch.

-- The minute that a partition's counts were last raised in: those of a minute that is over are in its figures, once a later one begins.
ALTER TABLE partitions ADD COLUMN counted_in timestamptz;
UPDATE partitions p SET counted_in = (SELECT max(minute) FROM figures f WHERE f.partition = p.partition);
