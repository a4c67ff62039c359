/*
 * The 8259A: Intel data sheet 231468. A request is latched by a rising edge and stays until it is
 * acknowledged; level-triggered inputs follow their line. Called under the device lock.
 */
#include "guest/machine/pic.h"

#define CASCADE 2u

#define ICW1          0x10
#define ICW1_ICW4     0x01
#define ICW1_SINGLE   0x02
#define ICW4_AUTO_EOI 0x02
#define ICW4_NESTED   0x10
#define OCW3          0x08
#define NOTHING       8u

/* Inputs that can't be level-triggered on a PC: timer, keyboard, cascade; RTC and coprocessor. */
static const uint8_t edge_only[2] = { 0x07, 0x21 };

static void chip_reset(struct pic_chip *chip)
{
	uint8_t lines = chip->lines, level_triggered = chip->level_triggered;

	*chip = (struct pic_chip){.lines = lines, .level_triggered = level_triggered, .lowest = 7};
	chip->irr = lines & level_triggered;
}

void pic_reset(struct pic *pic)
{
	for (unsigned i = 0; i < 2; i++) {
		pic->chip[i] = (struct pic_chip){ 0 };
		chip_reset(&pic->chip[i]);
		pic->chip[i].imr = 0xff;	/* as a BIOS leaves what nobody has set up */
	}
}

/* The highest-priority input of the set, NOTHING if it is empty. */
static unsigned highest(const struct pic_chip *chip, uint8_t set)
{
	for (unsigned i = 1; set && i <= 8; i++) {
		unsigned input = (chip->lowest + i) & 7;

		if (set & 1u << input)
			return input;
	}
	return NOTHING;
}

static unsigned rank(const struct pic_chip *chip, unsigned input)
{
	return input == NOTHING ? 8 : (input - chip->lowest - 1) & 7;
}

/* The input that would interrupt now: unmasked, and above everything in service. */
static unsigned requesting(const struct pic_chip *chip, bool master)
{
	unsigned input = highest(chip, chip->irr & (uint8_t)~chip->imr);
	uint8_t blocking = chip->isr;

	if (chip->special_mask)
		blocking &= (uint8_t)~chip->imr;
	/* Special fully nested: the slave may interrupt its own service routine. */
	if (master && chip->fully_nested)
		blocking &= (uint8_t)~(1u << CASCADE);
	if (input == NOTHING || rank(chip, input) >= rank(chip, highest(chip, blocking)))
		return NOTHING;
	return input;
}

static void chip_set_line(struct pic_chip *chip, unsigned input, bool level)
{
	uint8_t bit = (uint8_t)(1u << input);
	bool rises = level && !(chip->lines & bit);

	chip->lines = level ? chip->lines | bit : chip->lines & (uint8_t)~bit;
	if (rises)
		chip->irr |= bit;
	else if (!level && (chip->level_triggered & bit))
		chip->irr &= (uint8_t)~bit;
}

/* The slave's output is the master's input 2. */
static void cascade(struct pic *pic)
{
	bool output = requesting(&pic->chip[1], false) != NOTHING;

	chip_set_line(&pic->chip[0], CASCADE, output);
	if (!output)
		pic->chip[0].irr &= (uint8_t)~(1u << CASCADE);
	else if (!(pic->chip[0].isr & 1u << CASCADE))
		pic->chip[0].irr |= 1u << CASCADE;
}

void pic_set_line(struct pic *pic, unsigned irq, bool level)
{
	chip_set_line(&pic->chip[irq >> 3], irq & 7, level);
	cascade(pic);
}

bool pic_pending(struct pic *pic)
{
	return requesting(&pic->chip[0], true) != NOTHING;
}

static void end_of_interrupt(struct pic_chip *chip, unsigned input, bool rotate)
{
	if (input == NOTHING)
		return;
	chip->isr &= (uint8_t)~(1u << input);
	if (rotate)
		chip->lowest = (uint8_t)input;
}

/* Request becomes service; the input's number, 7 when there is no request any more. */
static unsigned chip_acknowledge(struct pic_chip *chip, bool master)
{
	unsigned input = requesting(chip, master);
	uint8_t bit;

	if (input == NOTHING)
		return 7;
	bit = (uint8_t)(1u << input);
	chip->isr |= bit;
	if (!(chip->level_triggered & bit))
		chip->irr &= (uint8_t)~bit;
	if (chip->auto_eoi)
		end_of_interrupt(chip, input, chip->rotate_on_auto_eoi);
	return input;
}

uint8_t pic_acknowledge(struct pic *pic)
{
	bool for_slave = requesting(&pic->chip[0], true) == CASCADE;
	unsigned input = chip_acknowledge(&pic->chip[0], true);
	struct pic_chip *chip = &pic->chip[0];

	if (for_slave) {
		chip = &pic->chip[1];
		input = chip_acknowledge(chip, false);
	}
	cascade(pic);
	return (uint8_t)(chip->base + input);
}

/* ------------------------------------------------------------------ ports */

static void write_ocw2(struct pic_chip *chip, uint8_t value)
{
	unsigned level = value & 7;

	switch (value >> 5) {
	case 0: chip->rotate_on_auto_eoi = false; break;
	case 4: chip->rotate_on_auto_eoi = true; break;
	case 1: end_of_interrupt(chip, highest(chip, chip->isr), false); break;
	case 5: end_of_interrupt(chip, highest(chip, chip->isr), true); break;
	case 3: end_of_interrupt(chip, level, false); break;
	case 7: end_of_interrupt(chip, level, true); break;
	case 6: chip->lowest = (uint8_t)level; break;
	default: break;
	}
}

static void write_command(struct pic_chip *chip, uint8_t value)
{
	if (value & ICW1) {
		chip_reset(chip);
		chip->needs_icw4 = value & ICW1_ICW4;
		chip->single = value & ICW1_SINGLE;
		chip->init_step = 2;
	} else if (value & OCW3) {
		if (value & 0x40)
			chip->special_mask = value & 0x20;
		if (value & 0x02)
			chip->read_isr = value & 0x01;
		chip->poll = value & 0x04;
	} else {
		write_ocw2(chip, value);
	}
}

static void write_data(struct pic_chip *chip, uint8_t value)
{
	switch (chip->init_step) {
	case 2:
		chip->base = value & 0xf8;
		chip->init_step = chip->single ? (chip->needs_icw4 ? 4 : 0) : 3;
		break;
	case 3:				/* which input is the cascade: a PC's is fixed */
		chip->init_step = chip->needs_icw4 ? 4 : 0;
		break;
	case 4:
		chip->auto_eoi = value & ICW4_AUTO_EOI;
		chip->fully_nested = value & ICW4_NESTED;
		chip->init_step = 0;
		break;
	default:
		chip->imr = value;
	}
}

static bool is_edge_level(uint16_t port) { return port >= 0x4d0; }
static unsigned chip_of(uint16_t port)
{
	return is_edge_level(port) ? port & 1 : port >> 7 & 1;
}

void pic_out(struct pic *pic, uint16_t port, uint8_t value)
{
	struct pic_chip *chip = &pic->chip[chip_of(port)];

	if (is_edge_level(port))
		chip->level_triggered = value & (uint8_t)~edge_only[chip_of(port)];
	else if (port & 1)
		write_data(chip, value);
	else
		write_command(chip, value);
	cascade(pic);
}

uint8_t pic_in(struct pic *pic, uint16_t port)
{
	unsigned which = chip_of(port);
	struct pic_chip *chip = &pic->chip[which];

	if (is_edge_level(port))
		return chip->level_triggered;
	if (chip->poll) {
		bool any = requesting(chip, !which) != NOTHING;
		unsigned input = chip_acknowledge(chip, !which);

		chip->poll = false;
		cascade(pic);
		return (uint8_t)(any ? 0x80 | input : 0);
	}
	if (port & 1)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}
